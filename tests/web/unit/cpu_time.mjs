// SPDX-License-Identifier: Apache-2.0
// Milliseconds of this process's own work on the CPU in `run`: what others do on the machine does not count.
export function cpuMs(run) {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

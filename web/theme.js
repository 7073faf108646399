// SPDX-License-Identifier: Apache-2.0
// Not a module: it runs before the first paint, so that a chosen theme never flashes.
(() => {
  try {
    const theme = localStorage.getItem('baltoro.theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // No store: the system's theme it is.
  }
})();

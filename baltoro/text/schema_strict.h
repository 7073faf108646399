// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/base/json.h"
#include "baltoro/base/result.h"

namespace baltoro::text {

// What `strict` demands of a schema's form, as Moonshot's schema language (MFJS) does: known keywords of the right JSON
// types, keywords only beside a type that they speak of, nothing but annotations beside $ref, no constraints beside
// anyOf, `required` names declared properties, enum values of the declared type, sizes within the limits of
// schema_graph.h. Allowed beyond MFJS, as they can be enforced: $schema, const, pattern, format, exclusive bounds,
// prefixItems, oneOf, allOf. kInvalidArgument with the path. Inside text/ only.
Status check_strict_schema(const json::Value& schema);

}  // namespace baltoro::text

//! A value that satisfies a JSON schema well enough: what a model would fill into a tool's input.

use serde_json::{Map, Value, json};

/// How deep objects are filled; schemas may refer to themselves.
const MAX_DEPTH: usize = 16;

/// The simplest value the schema allows: required properties only, the first of each choice.
pub fn sample(schema: &Value) -> Value {
    sample_below(schema, schema, MAX_DEPTH)
}

fn sample_below(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|at| root.pointer(at));
        return target.map_or(Value::Null, |target| sample_below(target, root, depth - 1));
    }
    for fixed in ["/const", "/default", "/enum/0", "/examples/0"] {
        if let Some(value) = schema.pointer(fixed) {
            return value.clone();
        }
    }
    for choice in ["/anyOf/0", "/oneOf/0", "/allOf/0"] {
        if let Some(first) = schema.pointer(choice) {
            return sample_below(first, root, depth - 1);
        }
    }
    of_type(schema, root, depth)
}

fn of_type(schema: &Value, root: &Value, depth: usize) -> Value {
    // `type` may be a list, as in `["string", "null"]`.
    let kind = schema.pointer("/type/0").or_else(|| schema.get("type"));
    match kind.and_then(Value::as_str) {
        Some("string") => json!("stand-in"),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("array") => array(schema, root, depth),
        Some("object") => object(schema, root, depth),
        None if schema.get("properties").is_some() => object(schema, root, depth),
        _ => Value::Null,
    }
}

fn array(schema: &Value, root: &Value, depth: usize) -> Value {
    let needs_one = schema.get("minItems").and_then(Value::as_u64) > Some(0);
    match schema.get("items").filter(|_| needs_one) {
        Some(items) => json!([sample_below(items, root, depth - 1)]),
        None => json!([]),
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let fields: Map<String, Value> = names
        .map(|name| {
            let property = schema.get("properties").and_then(|all| all.get(name));
            let value = property.map_or(Value::Null, |it| sample_below(it, root, depth - 1));
            (name.to_owned(), value)
        })
        .collect();
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_what_is_required_and_nothing_else() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 3},
                "unit": {"enum": ["C", "F"]},
                "place": {"$ref": "#/$defs/place"},
                "note": {"type": "string"},
            },
            "required": ["city", "days", "unit", "place", "untyped"],
            "$defs": {"place": {"type": "object", "properties": {"ok": {"type": ["boolean", "null"]}}, "required": ["ok"]}},
        });
        let expected = json!({"city": "stand-in", "days": 3, "unit": "C", "place": {"ok": true}, "untyped": null});
        assert_eq!(sample(&schema), expected);
    }

    #[test]
    fn schemas_of_any_kind_are_survived() {
        let endless = json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]});
        assert!(sample(&endless).is_object());
        for schema in [json!(null), json!(true), json!([]), json!({"$ref": "x"}), json!({"enum": []})] {
            assert_eq!(sample(&schema), Value::Null, "{schema}");
        }
    }
}

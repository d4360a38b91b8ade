//! A value that satisfies a JSON schema well enough: what a model would fill into a tool's input.

use serde_json::{Map, Value, json};

// Schemas may refer to themselves, several times at each level.
const MAX_DEPTH: usize = 16;
const MAX_VALUES: usize = 1_000;

/// The simplest value the schema allows: required properties only, the first of each choice.
pub fn sample(schema: &Value) -> Value {
    Sampler { root: schema, values_left: MAX_VALUES }.sample(schema, MAX_DEPTH)
}

struct Sampler<'a> {
    root: &'a Value,
    values_left: usize,
}

impl<'a> Sampler<'a> {
    fn sample(&mut self, schema: &'a Value, depth: usize) -> Value {
        if depth == 0 || self.values_left == 0 {
            return Value::Null;
        }
        self.values_left -= 1;
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|at| self.root.pointer(at));
            return target.map_or(Value::Null, |target| self.sample(target, depth - 1));
        }
        for fixed in ["/const", "/default", "/enum/0", "/examples/0"] {
            if let Some(value) = schema.pointer(fixed) {
                return value.clone();
            }
        }
        for choice in ["/anyOf/0", "/oneOf/0", "/allOf/0"] {
            if let Some(first) = schema.pointer(choice) {
                return self.sample(first, depth - 1);
            }
        }
        self.of_type(schema, depth)
    }

    fn of_type(&mut self, schema: &'a Value, depth: usize) -> Value {
        // `type` may be a list, as in `["string", "null"]`.
        let kind = schema.pointer("/type/0").or_else(|| schema.get("type"));
        match kind.and_then(Value::as_str) {
            Some("string") => json!("stand-in"),
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(true),
            Some("array") => self.array(schema, depth),
            Some("object") => self.object(schema, depth),
            None if schema.get("properties").is_some() => self.object(schema, depth),
            _ => Value::Null,
        }
    }

    fn array(&mut self, schema: &'a Value, depth: usize) -> Value {
        let needs_one = schema.get("minItems").and_then(Value::as_u64) > Some(0);
        match schema.get("items").filter(|_| needs_one) {
            Some(items) => json!([self.sample(items, depth - 1)]),
            None => json!([]),
        }
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let mut fields = Map::new();
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            let property = schema.get("properties").and_then(|all| all.get(name));
            let value = property.map_or(Value::Null, |property| self.sample(property, depth - 1));
            fields.insert(name.to_owned(), value);
        }
        Value::Object(fields)
    }
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
            "$defs": {
                "place": {"properties": {"ok": {"type": ["boolean", "null"]}}, "required": ["ok"]},
            },
        });
        let expected = json!({"city": "stand-in", "days": 3, "unit": "C", "place": {"ok": true}, "untyped": null});
        assert_eq!(sample(&schema), expected);
    }

    #[test]
    fn schemas_of_any_kind_are_survived() {
        let endless = json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]});
        assert!(sample(&endless).is_object());
        let names: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
        let properties: Map<String, Value> = names.iter().map(|name| (name.clone(), json!({"$ref": "#"}))).collect();
        let wide = json!({"type": "object", "properties": properties, "required": names});
        assert!(sample(&wide).is_object());
        for schema in [json!(null), json!(true), json!([]), json!({"$ref": "x"}), json!({"enum": []})] {
            assert_eq!(sample(&schema), Value::Null, "{schema}");
        }
    }
}

//! JSON schemas, as far as reports need them. Pure.
//!
//! Of draft 2020-12 the keywords in [`KEYWORDS`], with `$ref` within the schema. A schema with another
//! keyword that restricts what fits is refused when it is read: it would otherwise let pass what its
//! author wanted kept out. Annotations are passed over. Depth is bounded, so that a reference to
//! itself ends.

use serde_json::{Map, Value};

/// Keywords that are checked.
const KEYWORDS: &[&str] = &[
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "$ref",
];

/// Keywords that say something and restrict nothing.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "$anchor",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
];

/// Schemas within schemas, and values within values, so deep.
const DEEPEST: usize = 64;

/// A schema that can be checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schema(Value);

impl Schema {
    /// Reads a schema; says which keyword cannot be checked.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let root: Value =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        check(&root, &root, DEEPEST)?;
        Ok(Self(root))
    }

    /// Why a value does not fit, and where in it.
    pub(crate) fn misfit(&self, value: &Value) -> Option<String> {
        let judge = Judge { root: &self.0 };
        judge.misfit(&self.0, value, "", DEEPEST)
    }
}

/// Whether everything in a schema is known.
fn check(root: &Value, schema: &Value, depth: usize) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or("it nests too deep")?;
    let map = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(map) => map,
        _ => return Err("a schema is an object, true or false".to_owned()),
    };
    for (key, value) in map {
        let within = |schema: &Value| check(root, schema, depth);
        match key.as_str() {
            "properties" | "$defs" | "definitions" => {
                let schemas = value.as_object().ok_or(format!("`{key}` is no object"))?;
                schemas.values().try_for_each(within)?;
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                let schemas = value.as_array().ok_or(format!("`{key}` is no list"))?;
                schemas.iter().try_for_each(within)?;
            }
            "items" | "additionalProperties" | "not" | "if" | "then" | "else" => within(value)?,
            "$ref" => {
                let target = value.as_str().and_then(|at| resolve(root, at));
                target.ok_or(format!("`$ref`: {value} is nowhere in the schema"))?;
            }
            key if KEYWORDS.contains(&key) => well_formed(key, value)?,
            key if ANNOTATIONS.contains(&key) || key.starts_with("x-") => {}
            key => return Err(format!("the keyword `{key}` cannot be checked")),
        }
    }
    Ok(())
}

/// A keyword with a value of the wrong kind would restrict nothing.
fn well_formed(key: &str, value: &Value) -> Result<(), String> {
    let is_name = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let right = match key {
        "type" => match value {
            Value::Array(names) => !names.is_empty() && names.iter().all(is_name),
            name => is_name(name),
        },
        "enum" => value.is_array(),
        "const" => true,
        "required" => value
            .as_array()
            .is_some_and(|names| names.iter().all(Value::is_string)),
        "uniqueItems" => value.is_boolean(),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => value.is_number(),
        "multipleOf" => value.as_f64().is_some_and(|step| step > 0.0),
        _ => value.is_u64(),
    };
    if right {
        Ok(())
    } else {
        Err(format!("`{key}` cannot be {value}"))
    }
}

const TYPES: &[&str] = &[
    "null", "boolean", "object", "array", "number", "integer", "string",
];

/// What a reference within the schema names: `#` or `#/a/b`.
fn resolve<'a>(root: &'a Value, at: &str) -> Option<&'a Value> {
    match at.strip_prefix('#')? {
        "" => Some(root),
        pointer => root.pointer(pointer),
    }
}

struct Judge<'a> {
    root: &'a Value,
}

impl Judge<'_> {
    fn misfit(&self, schema: &Value, value: &Value, at: &str, depth: usize) -> Option<String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Some(said(at, "nests too deep"));
        };
        let map = match schema {
            Value::Bool(true) => return None,
            Value::Object(map) => map,
            _ => return Some(said(at, "is not allowed here")),
        };
        plain(map, value)
            .map(|why| said(at, &why))
            .or_else(|| self.in_object(map, value, at, depth))
            .or_else(|| self.in_list(map, value, at, depth))
            .or_else(|| self.combined(map, value, at, depth))
    }

    fn in_object(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
        depth: usize,
    ) -> Option<String> {
        let fields = value.as_object()?;
        let none = Map::new();
        let known = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        fields.iter().find_map(|(name, value)| {
            let schema = known
                .get(name)
                .or_else(|| schema.get("additionalProperties"))?;
            self.misfit(schema, value, &format!("{at}/{name}"), depth)
        })
    }

    fn in_list(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
        depth: usize,
    ) -> Option<String> {
        let none = Vec::new();
        let first = schema
            .get("prefixItems")
            .and_then(Value::as_array)
            .unwrap_or(&none);
        value
            .as_array()?
            .iter()
            .enumerate()
            .find_map(|(place, item)| {
                let schema = first.get(place).or_else(|| schema.get("items"))?;
                self.misfit(schema, item, &format!("{at}/{place}"), depth)
            })
    }

    fn combined(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
        depth: usize,
    ) -> Option<String> {
        let misfit = |schema: &Value| self.misfit(schema, value, at, depth);
        let list = |key: &str| schema.get(key).and_then(Value::as_array);
        let fitting = |all: &Vec<Value>| all.iter().filter(|one| misfit(one).is_none()).count();
        let target = schema.get("$ref").and_then(Value::as_str);
        if let Some(why) = target.and_then(|at| misfit(resolve(self.root, at)?)) {
            return Some(why);
        }
        if let Some(why) = list("allOf").and_then(|all| all.iter().find_map(misfit)) {
            return Some(why);
        }
        if list("anyOf").is_some_and(|all| fitting(all) == 0) {
            return Some(said(at, "fits none of `anyOf`"));
        }
        if list("oneOf").is_some_and(|all| fitting(all) != 1) {
            return Some(said(at, "does not fit exactly one of `oneOf`"));
        }
        if schema.get("not").is_some_and(|not| misfit(not).is_none()) {
            return Some(said(at, "fits what it must `not`"));
        }
        let branch = match schema.get("if").map(misfit) {
            Some(None) => schema.get("then"),
            Some(Some(_)) => schema.get("else"),
            None => None,
        };
        branch.and_then(misfit)
    }
}

/// What concerns the value alone.
fn plain(schema: &Map<String, Value>, value: &Value) -> Option<String> {
    schema.iter().find_map(|(key, wanted)| {
        let fits = match key.as_str() {
            "type" => match wanted {
                Value::Array(names) => names.iter().any(|name| is_of(value, name)),
                name => is_of(value, name),
            },
            "enum" => wanted.as_array()?.iter().any(|one| same(one, value)),
            "const" => same(wanted, value),
            "required" => {
                let fields = value.as_object()?;
                let mut names = wanted.as_array()?.iter().filter_map(Value::as_str);
                let missing = names.find(|name| !fields.contains_key(*name))?;
                return Some(format!("has no `{missing}`"));
            }
            "minProperties" => value.as_object()?.len() as u64 >= wanted.as_u64()?,
            "maxProperties" => value.as_object()?.len() as u64 <= wanted.as_u64()?,
            "minItems" => value.as_array()?.len() as u64 >= wanted.as_u64()?,
            "maxItems" => value.as_array()?.len() as u64 <= wanted.as_u64()?,
            "uniqueItems" => !wanted.as_bool()? || are_unique(value.as_array()?),
            "minLength" => value.as_str()?.chars().count() as u64 >= wanted.as_u64()?,
            "maxLength" => value.as_str()?.chars().count() as u64 <= wanted.as_u64()?,
            "minimum" => value.as_f64()? >= wanted.as_f64()?,
            "maximum" => value.as_f64()? <= wanted.as_f64()?,
            "exclusiveMinimum" => value.as_f64()? > wanted.as_f64()?,
            "exclusiveMaximum" => value.as_f64()? < wanted.as_f64()?,
            "multipleOf" => is_multiple(value.as_f64()?, wanted.as_f64()?),
            _ => true,
        };
        (!fits).then(|| format!("does not fit `{key}: {}`", shortened(wanted)))
    })
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        // 1.0 is an integer, too
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

/// Numbers are the same by their value, in whatever form.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let in_other = |(key, value): (&String, &Value)| {
                other.get(key).is_some_and(|found| same(value, found))
            };
            one.len() == other.len() && one.iter().all(in_other)
        }
        _ => one == other,
    }
}

fn are_unique(items: &[Value]) -> bool {
    let mut rest = items;
    while let Some((first, others)) = rest.split_first() {
        if others.iter().any(|other| same(first, other)) {
            return false;
        }
        rest = others;
    }
    true
}

fn is_multiple(value: f64, step: f64) -> bool {
    let times = value / step;
    // 0.3 is a multiple of 0.1, whatever floating point says
    (times - times.round()).abs() < 1e-9 * times.abs().max(1.0)
}

fn said(at: &str, why: &str) -> String {
    let at = if at.is_empty() { "the report" } else { at };
    format!("{at} {why}")
}

fn shortened(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn misfit(schema: &Value, value: &Value) -> Option<String> {
        Schema::parse(&schema.to_string()).unwrap().misfit(value)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a case for each keyword")]
    fn each_keyword_lets_through_what_fits_and_nothing_else() {
        for (schema, fits, not) in [
            (json!({"type": "integer"}), json!(2.0), json!(2.5)),
            (json!({"type": ["string", "null"]}), json!(null), json!(1)),
            (json!({"enum": [1, "a"]}), json!(1.0), json!("b")),
            (
                json!({"const": {"a": [1]}}),
                json!({"a": [1.0]}),
                json!({"a": [2]}),
            ),
            (json!({"required": ["a"]}), json!({"a": 1}), json!({"b": 1})),
            (
                json!({"properties": {"a": {"type": "string"}}}),
                json!({"a": "x", "b": 1}),
                json!({"a": 1}),
            ),
            (
                json!({"properties": {"a": true}, "additionalProperties": false}),
                json!({"a": 1}),
                json!({"b": 1}),
            ),
            (
                json!({"minProperties": 1, "maxProperties": 1}),
                json!({"a": 1}),
                json!({}),
            ),
            (
                json!({"items": {"type": "number"}}),
                json!([1, 2]),
                json!([1, "x"]),
            ),
            (
                json!({"prefixItems": [{"const": 1}], "items": false}),
                json!([1]),
                json!([1, 2]),
            ),
            (json!({"minItems": 1, "maxItems": 2}), json!([1]), json!([])),
            (
                json!({"uniqueItems": true}),
                json!([1, "1"]),
                json!([1, 1.0]),
            ),
            (
                json!({"minLength": 2, "maxLength": 2}),
                json!("äö"),
                json!("ä"),
            ),
            (
                json!({"minimum": 1, "exclusiveMaximum": 2}),
                json!(1),
                json!(2),
            ),
            (
                json!({"exclusiveMinimum": 1, "maximum": 2}),
                json!(2),
                json!(1),
            ),
            (json!({"multipleOf": 0.1}), json!(0.3), json!(0.35)),
            (
                json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}),
                json!(1),
                json!(3),
            ),
            (
                json!({"anyOf": [{"const": 1}, {"const": 2}]}),
                json!(2),
                json!(3),
            ),
            (
                json!({"oneOf": [{"minimum": 1}, {"minimum": 5}]}),
                json!(1),
                json!(6),
            ),
            (json!({"not": {"const": 1}}), json!(2), json!(1)),
            (
                json!({"if": {"const": 1}, "then": false, "else": {"minimum": 5}}),
                json!(5),
                json!(1),
            ),
            (json!(true), json!(1), Value::Null),
        ] {
            assert_eq!(misfit(&schema, &fits), None, "{schema} {fits}");
            if schema != json!(true) {
                assert!(misfit(&schema, &not).is_some(), "{schema} {not}");
            }
        }
    }

    #[test]
    fn references_are_followed_and_come_to_an_end() {
        let tree = json!({
            "$defs": {"node": {"required": ["v"], "properties": {"kids": {"items": {"$ref": "#/$defs/node"}}}}},
            "$ref": "#/$defs/node",
        });
        assert_eq!(misfit(&tree, &json!({"v": 1, "kids": [{"v": 2}]})), None);
        let why = misfit(&tree, &json!({"v": 1, "kids": [{"v": 2}, {}]})).unwrap();
        assert_eq!(why, "/kids/1 has no `v`");
        assert!(
            misfit(&json!({"$ref": "#"}), &json!(1))
                .unwrap()
                .contains("too deep")
        );
    }

    #[test]
    fn what_cannot_be_checked_is_refused_when_it_is_read() {
        for (text, word) in [
            (r#"{"pattern": "^a"}"#, "pattern"),
            (
                r#"{"properties": {"a": {"patternProperties": {}}}}"#,
                "patternProperties",
            ),
            (r#"{"$ref": "other.json"}"#, "other.json"),
            (r##"{"$ref": "#/$defs/none"}"##, "none"),
            (r#"{"type": "text"}"#, "type"),
            (r#"{"minLength": -1}"#, "minLength"),
            ("[]", "object"),
            ("{", "no JSON"),
        ] {
            let error = Schema::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}

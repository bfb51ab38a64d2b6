//! Arguments against the schemas of tools, and text that becomes what a schema says.

use serde_json::{Value, json};

use super::{Json, Tools, ToolsProblem};

fn one(parameters: &Value) -> Tools {
    Tools::new(&json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]))
        .unwrap()
}

fn check(parameters: &Value, arguments: &Value) -> Result<(), String> {
    let arguments = arguments.to_string();
    match serde_json::from_str(&arguments).unwrap() {
        Json::Object(arguments) => one(parameters).check("f", &arguments),
        other => panic!("{other:?}"),
    }
}

#[test]
fn arguments_must_fit_the_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 2},
            "days": {"type": "integer", "minimum": 1, "exclusiveMaximum": 15},
            "unit": {"enum": ["C", "F"]},
            "when": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            "place": {"$ref": "#/$defs/place"},
            "old": {"type": "string", "nullable": true},
        },
        "required": ["city"],
        "$defs": {"place": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "inner": {"$ref": "#/$defs/place"}},
            "required": ["x"],
            "additionalProperties": false,
        }},
    });
    let good = json!({"city": "Paris", "days": 3.0, "unit": "C", "when": null, "tags": ["a"], "old": null,
        "place": {"x": 1, "inner": {"x": 2.5}}});
    assert_eq!(check(&schema, &good), Ok(()));
    let bad = [
        (json!({}), "city"),
        (json!({"city": 1}), "city"),
        (json!({"city": "x"}), "city"),
        (json!({"city": "Paris", "days": 1.5}), "days"),
        (json!({"city": "Paris", "days": 0}), "days"),
        (json!({"city": "Paris", "days": 15}), "days"),
        (json!({"city": "Paris", "unit": "K"}), "unit"),
        (json!({"city": "Paris", "when": 1}), "when"),
        (json!({"city": "Paris", "tags": ["a", 1]}), "tags"),
        (json!({"city": "Paris", "tags": ["a", "b", "c"]}), "tags"),
        (json!({"city": "Paris", "place": {}}), "place"),
        (
            json!({"city": "Paris", "place": {"x": 1, "inner": {"x": "1"}}}),
            "inner",
        ),
        (json!({"city": "Paris", "place": {"x": 1, "y": 1}}), "y"),
        (json!({"city": "Paris", "more": 1}), "more"),
    ];
    for (arguments, about) in bad {
        let why = check(&schema, &arguments).unwrap_err();
        assert!(why.contains(&format!("{about:?}")), "{why}");
    }
}

#[test]
fn a_schema_that_says_nothing_takes_anything() {
    for schema in [
        json!(null),
        json!({}),
        json!(true),
        json!([1]),
        json!({"type": 3, "required": 1}),
    ] {
        assert_eq!(check(&schema, &json!({"a": [1]})), Ok(()), "{schema}");
    }
    assert_eq!(Tools::default().check("f", &Vec::new()), Ok(()));
}

#[test]
fn endless_schemas_end() {
    let round = json!({"properties": {"a": {"$ref": "#/properties/a"}}});
    assert!(check(&round, &json!({"a": 1})).is_err());
    let root = json!({"$ref": "#"});
    let _ = check(&root, &json!({"a": 1}));
    let wide = json!({"properties": {"a": {"$ref": "#/$defs/w"}},
        "$defs": {"w": {"anyOf": vec![json!({"$ref": "#/$defs/w"}); 64]}}});
    let _ = check(&wide, &json!({"a": 1}));
    let many = json!({"properties": {"a": {"items": {"type": "integer"}}}});
    let _ = check(&many, &json!({"a": vec![1; 300_000]}));
    assert!(one(&wide).types("f", "a").len() < 64);
}

#[test]
fn plain_text_becomes_what_the_schema_says() {
    let tools = one(&json!({"properties": {
        "s": {"type": "string"}, "i": {"type": "integer"}, "f": {"type": "number"}, "b": {"type": "boolean"},
        "o": {"type": "object"}, "l": {"type": ["array", "null"]}, "u": {},
        "e": {"enum": ["1", "2"]},
    }}));
    let spelled = [
        ("s", "3", r#""3""#),
        ("s", "null", r#""null""#),
        ("i", "3.0", "3"),
        ("i", " 12\n", "12"),
        ("i", "x", r#""x""#),
        ("f", "1.50", "1.50"),
        ("f", "NaN", r#""NaN""#),
        ("b", "True", "true"),
        ("b", "maybe", r#""maybe""#),
        ("o", r#"{"a": 1}"#, r#"{"a": 1}"#),
        ("o", "{a}", r#""{a}""#),
        ("l", "null", "null"),
        ("l", "[1]", "[1]"),
        ("u", "[1]", "[1]"),
        ("u", "a \"b\"", r#""a \"b\"""#),
        ("e", "1", r#""1""#),
    ];
    for (argument, text, json) in spelled {
        assert_eq!(tools.spell("f", argument, text), json, "{argument} {text}");
    }
}

#[test]
fn names_are_found_after_a_separator_if_one_alone_fits() {
    let tools =
        Tools::new(&json!([{"name": "get"}, {"name": "mcp.get"}, {"name": "put"}])).unwrap();
    assert_eq!(tools.resolve("put"), Some("put"));
    assert_eq!(tools.resolve("functions.put"), Some("put"));
    assert_eq!(tools.resolve("output"), None);
    assert_eq!(tools.resolve("x.mcp.get"), None);
}

#[test]
fn lists_that_are_no_tools_are_refused() {
    assert_eq!(Tools::new(&json!({})), Err(ToolsProblem::NotTools));
    assert_eq!(
        Tools::new(&json!([{"type": "function"}])),
        Err(ToolsProblem::NotTools)
    );
    let twice = json!([{"name": "f"}, {"function": {"name": "f"}}]);
    assert_eq!(Tools::new(&twice), Err(ToolsProblem::Twice("f".to_owned())));
    let many: Vec<Value> = (0..2000).map(|n| json!({"name": n.to_string()})).collect();
    assert_eq!(
        Tools::new(&Value::from(many)),
        Err(ToolsProblem::TooMany(2000))
    );
}

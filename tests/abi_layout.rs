//! The layouts that the compiler made, against those computed from the vendor's headers.

#![allow(clippy::unwrap_used, reason = "tests say so when they fail")]

use std::collections::BTreeMap;

use rkllm_rs::ffi;
use serde_json::Value;

fn target() -> &'static str {
    match std::env::consts::ARCH {
        "arm" => "armhf",
        arch => arch,
    }
}

fn reference(name: &str) -> BTreeMap<String, Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/abi");
    let path = format!("{folder}/{name}.{}.json", target());
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

fn compiled(name: &str) -> BTreeMap<String, Value> {
    let (_, layouts) = ffi::abi_versions()
        .into_iter()
        .find(|(one, _)| *one == name)
        .unwrap();
    layouts
        .into_iter()
        .map(|layout| {
            let fields: serde_json::Map<String, Value> = layout
                .fields
                .into_iter()
                .map(|(name, offset)| (name, offset.into()))
                .collect();
            let value = serde_json::json!({
                "size": layout.size, "align": layout.align, "fields": fields,
            });
            (layout.name.to_owned(), value)
        })
        .collect()
}

#[test]
fn every_abi_version_is_laid_out_as_its_header_says() {
    for (name, _) in ffi::abi_versions() {
        // It has a test of its own.
        if name != "v1_2_0" {
            assert_eq!(compiled(name), reference(name), "{name}");
        }
    }
}

#[test]
fn v1_2_0_has_the_larger_input_of_1_2_1b1_and_all_else_of_1_2_0() {
    let mut wanted = reference("v1_2_0");
    let larger = reference("v1_2_1b1");
    for name in ["RKLLMInput", "RKLLMMultiModelInput"] {
        assert_ne!(
            wanted[name], larger[name],
            "{name}: the two headers differ here"
        );
        wanted.insert(name.to_owned(), larger[name].clone());
    }
    assert_eq!(compiled("v1_2_0"), wanted);
}

#[test]
fn the_smaller_input_is_a_prefix_of_the_larger() {
    let (small, large) = (reference("v1_2_0"), reference("v1_2_1b1"));
    for name in ["RKLLMInput", "RKLLMMultiModelInput"] {
        for (field, offset) in small[name]["fields"].as_object().unwrap() {
            assert_eq!(
                Some(offset),
                large[name]["fields"].get(field),
                "{name}.{field}"
            );
        }
    }
}

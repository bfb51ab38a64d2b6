//! What each release can do.

use super::super::Release;
use super::super::symbols::tests::official;
use super::*;
use crate::protocol::error::ErrorKind;

fn capabilities(abi: AbiVersion, version: Option<&str>, level: usize, cpu: bool) -> Capabilities {
    let identity = Identity {
        abi,
        version: version.map(str::to_owned),
        evidence: Vec::new(),
        cpu_runtime: cpu,
        newer: version.is_some_and(|text| {
            Version::parse(text).is_some_and(|one| one.release() == Release::Newer)
        }),
    };
    Capabilities::new(&identity, &official(level))
}

#[test]
fn each_layout_has_its_features() {
    for (abi, level, last, first_absent) in [
        (AbiVersion::V1_1_0, 2, "is_running", "logits"),
        (AbiVersion::V1_2_0, 3, "embed_flash", "role"),
        (AbiVersion::V1_2_1, 4, "kv_cache_range", "per_run_sampling"),
        (AbiVersion::V1_3_0, 4, "release_output", "audio"),
        (AbiVersion::V1_3_1, 4, "audio", "seed"),
    ] {
        let all = capabilities(abi, None, level, false);
        assert_eq!(all.names().last(), Some(&last), "{abi}");
        assert!(!all.has(first_absent), "{abi}");
        let error = all.require(first_absent).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
    }
}

#[test]
fn inside_a_layout_the_release_decides() {
    assert!(!capabilities(AbiVersion::V1_2_0, None, 3, false).has("multi_image"));
    assert!(!capabilities(AbiVersion::V1_2_0, Some("1.2.0"), 3, false).has("multi_image"));
    assert!(capabilities(AbiVersion::V1_2_0, Some("1.2.1b1"), 3, false).has("multi_image"));
    assert!(!capabilities(AbiVersion::V1_2_1, Some("1.2.1"), 4, false).has("multi_instance"));
    assert!(capabilities(AbiVersion::V1_2_1, Some("1.2.2"), 4, false).has("multi_instance"));
    assert!(
        capabilities(AbiVersion::V1_2_1, Some("1.2.3"), 4, false).has("embedding_prefix_reuse")
    );
    assert!(capabilities(AbiVersion::V1_3_0, None, 4, false).has("multi_instance"));
}

#[test]
fn an_admitted_newer_release_is_bound_by_its_layout() {
    let all = capabilities(AbiVersion::V1_2_1, Some("1.4.0"), 4, false);
    assert!(!all.has("per_run_sampling"));
    assert!(all.has("role"));
}

#[test]
fn an_admitted_newer_release_does_nothing_that_depends_on_sizes() {
    let known = capabilities(AbiVersion::V1_3_1, Some("1.3.1"), 4, false);
    let newer = capabilities(AbiVersion::V1_3_1, Some("1.4.0"), 4, false);
    let lost = known.names().iter().filter(|name| !newer.has(name));
    let mut lost: Vec<_> = lost.copied().collect();
    let mut sized = SIZED.to_vec();
    lost.sort_unstable();
    sized.sort_unstable();
    assert_eq!(lost, sized);
    let error = newer.require("batch").unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
    assert!(error.to_string().contains("up to RKLLM 1.3.1"), "{error}");
}

#[test]
fn the_message_names_the_release() {
    let all = capabilities(AbiVersion::V1_1_0, Some("1.1.4"), 2, false);
    let error = all.require("function_tools").unwrap_err();
    for part in ["set_function_tools", "1.2.1", "1.1.4", "v1_1_0"] {
        assert!(error.text.contains(part), "{error}");
    }
    assert!(error.hint.is_some());
}

#[test]
fn several_models_depend_on_the_release() {
    for (release, has_domains, needs) in [
        ("1.1.4", false, Some("1.2.2")),
        ("v1_1", false, Some("1.2.2")),
        ("1.2.0", true, Some("1.2.2")),
        ("1.2.1", true, Some("1.2.2")),
        ("1.2.2", true, None),
        ("1.4.0", true, None),
    ] {
        let found = Several::of(release).unwrap();
        assert_eq!(
            (found.has_domains, found.needs),
            (has_domains, needs),
            "{release}"
        );
    }
    let error = Several::of("newest").unwrap_err();
    assert_eq!(error.fields.argument.as_deref(), Some("release"));
}

#[test]
fn a_missing_function_takes_its_feature() {
    let identity = Identity {
        abi: AbiVersion::V1_3_0,
        version: None,
        evidence: Vec::new(),
        cpu_runtime: true,
        newer: false,
    };
    let exports = Exports::collect(|name| name != "rkllm_load_lora");
    let all = Capabilities::new(&identity, &exports);
    assert!(!all.has("lora"));
    assert!(all.has("seed"));
    let error = all.require("lora").unwrap_err().to_string();
    assert!(
        error.contains("a library that exports rkllm_load_lora"),
        "{error}"
    );
    assert!(matches!(
        all.require("flying"),
        Err(Failure {
            kind: ErrorKind::InvalidArgument,
            ..
        })
    ));
}

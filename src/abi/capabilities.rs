//! What a loaded library can do.

use std::fmt;

use super::wording::wording;
use super::{AbiVersion, Exports, Identity, NEWEST, Version};
use crate::protocol::error::Failure;

/// A feature, the release that brings it and the functions it needs.
struct Row {
    name: &'static str,
    since: &'static str,
    functions: &'static [&'static str],
}

const fn row(name: &'static str, since: &'static str, functions: &'static [&'static str]) -> Row {
    Row {
        name,
        since,
        functions,
    }
}

/// Ordered by release. `cpu` stands for what the CPU runtime alone can tell.
const FEATURES: &[Row] = &[
    row("abort", "1.0.1", &["rkllm_abort"]),
    row("token_input", "1.1.0", &[]),
    row("embedding_input", "1.1.0", &[]),
    row("multimodal_input", "1.1.0", &[]),
    row("hidden_states", "1.1.0", &[]),
    row("lora", "1.1.0", &["rkllm_load_lora"]),
    row(
        "prompt_cache",
        "1.1.0",
        &["rkllm_load_prompt_cache", "rkllm_release_prompt_cache"],
    ),
    row("is_running", "1.1.0", &["rkllm_is_running"]),
    row("logits", "1.2.0", &[]),
    row("keep_history", "1.2.0", &[]),
    row("prefix_reuse", "1.2.0", &[]),
    row("n_keep", "1.2.0", &[]),
    row("chat_template", "1.2.0", &["rkllm_set_chat_template"]),
    row("clear_kv_cache", "1.2.0", &["rkllm_clear_kv_cache"]),
    row("cpu_mask", "1.2.0", &[]),
    row("embed_flash", "1.2.0", &[]),
    row("multi_image", "1.2.1b1", &[]),
    row("role", "1.2.1", &[]),
    row("thinking", "1.2.1", &[]),
    row("function_tools", "1.2.1", &["rkllm_set_function_tools"]),
    row("pause", "1.2.1", &[]),
    row("perf", "1.2.1", &[]),
    row("batch", "1.2.1", &[]),
    row("cross_attention", "1.2.1", &["rkllm_set_cross_attn_params"]),
    row("kv_cache_size", "1.2.1", &["rkllm_get_kv_cache_size"]),
    row("kv_cache_range", "1.2.1", &["rkllm_clear_kv_cache"]),
    row("multi_instance", "1.2.2", &[]),
    row("embedding_prefix_reuse", "1.2.3", &[]),
    row("per_run_sampling", "1.3.0", &[]),
    row("per_run_max_new_tokens", "1.3.0", &[]),
    row("ignore_eos", "1.3.0", &[]),
    row("tokenizer_callback", "1.3.0", &[]),
    row("embedding_callback", "1.3.0", &[]),
    row("video", "1.3.0", &[]),
    row("per_run_image_markers", "1.3.0", &[]),
    row("release_output", "1.3.0", &[]),
    row("audio", "1.3.1", &[]),
    row("count_tokens", "cpu", &[]),
    row("model_info", "cpu", &[]),
    row("seed", "cpu", &[]),
    row("tokenize", "cpu", &[]),
    row("structured_output", "cpu", &[]),
    row("own_sampling", "cpu", &[]),
];

/// What depends on the size of the input struct, which a release newer than known may have changed.
const SIZED: &[&str] = &[
    "multimodal_input",
    "multi_image",
    "batch",
    "video",
    "per_run_image_markers",
    "audio",
];

/// What a loaded library can do: its release, less the functions that it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    pub(super) abi: AbiVersion,
    version: Option<String>,
    newer: bool,
    names: Vec<&'static str>,
}

impl Capabilities {
    /// Derives them from what was found out.
    #[must_use]
    pub fn new(identity: &Identity, exports: &Exports) -> Self {
        let release = identity.version.as_deref().and_then(Version::parse);
        let able = |row: &&Row| {
            let there = if row.since == "cpu" {
                identity.cpu_runtime
            } else {
                reached(row.since, identity.abi, release.as_ref())
            };
            let sized = identity.newer && SIZED.contains(&row.name);
            there && !sized && row.functions.iter().all(|name| exports.has(name))
        };
        Self::of(identity, able)
    }

    /// Those of a library that another process has loaded, from their names there.
    pub(crate) fn told(identity: &Identity, names: &[String]) -> Self {
        Self::of(identity, |row| names.iter().any(|name| name == row.name))
    }

    fn of(identity: &Identity, has: impl FnMut(&&Row) -> bool) -> Self {
        Self {
            abi: identity.abi,
            version: identity.version.clone(),
            newer: identity.newer,
            names: FEATURES.iter().filter(has).map(|row| row.name).collect(),
        }
    }

    /// Whether a run ends where the model's thinking does (hazard G4).
    pub(crate) fn ends_with_thinking(&self) -> bool {
        !self.has("tokenize") && matches!(self.abi, AbiVersion::V1_3_0 | AbiVersion::V1_3_1)
    }

    /// Whether a model can begin in another IOMMU domain than 0: on 1.1.x that crashes.
    pub(crate) fn has_domains(&self) -> bool {
        self.abi != AbiVersion::V1_1_0
    }

    /// The names of what it can do, ordered by the release that brought them.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Every feature with the release that brings it, `cpu` for those of the CPU runtime alone.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        FEATURES.iter().map(|row| (row.name, row.since))
    }

    /// Whether it can do `feature`; false for unknown names.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.names.contains(&feature)
    }

    /// Demands `feature`.
    ///
    /// # Errors
    ///
    /// `ErrorKind::UnsupportedFeature` naming the release that can, or the function that lacks;
    /// `ErrorKind::InvalidArgument` for a name that is no feature.
    pub fn require(&self, feature: &str) -> Result<(), Failure> {
        self.require_for(feature, wording(feature))
    }

    /// Demands `feature` for `what` the caller wrote.
    ///
    /// # Errors
    ///
    /// As [`Self::require`], whose text begins with `what`.
    pub(crate) fn require_for(&self, feature: &str, what: &str) -> Result<(), Failure> {
        if self.has(feature) {
            return Ok(());
        }
        let row = FEATURES
            .iter()
            .find(|row| row.name == feature)
            .ok_or_else(|| {
                Failure::invalid_with_hint(
                    "feature",
                    format!("must be the name of a feature, got {feature:?}"),
                    "See the names in Runtime.capabilities.",
                )
            })?;
        let release = self.version.as_deref().and_then(Version::parse);
        let needs = match row.since {
            "cpu" => "the CPU runtime (backend=\"cpu\")".to_owned(),
            _ if self.newer && SIZED.contains(&row.name) => {
                format!("a release with a known ABI (up to RKLLM {NEWEST})")
            }
            since if reached(since, self.abi, release.as_ref()) => {
                format!("a library that exports {}", row.functions.join(" and "))
            }
            since => format!("RKLLM {since} or later"),
        };
        Err(self.lacks(what, &needs))
    }
}

/// What differs between releases and is no feature to be asked for.
impl Capabilities {
    /// Whether the library puts chat templates around text, its own or one that it is given.
    pub(crate) fn has_templates(&self) -> bool {
        self.abi > AbiVersion::V1_1_0
    }

    /// Whether the library survives logits of tokens after a run whose history is kept (hazard G5).
    pub(crate) fn has_logits_after_history(&self) -> bool {
        self.abi >= AbiVersion::V1_3_0
    }

    /// Whether a run can have a limit of its own: the feature `per_run_max_new_tokens`, which each run asks for.
    pub(crate) fn has_limits_of_runs(&self) -> bool {
        self.abi >= AbiVersion::V1_3_0
    }

    /// Whether the markers around images are given when a model is opened.
    pub(crate) fn has_markers_at_init(&self) -> bool {
        self.abi < AbiVersion::V1_3_0
    }

    /// The error of a call that needs what the loaded library lacks.
    #[must_use]
    pub fn lacks(&self, feature: &str, needs: &str) -> Failure {
        let have = match &self.version {
            Some(version) => format!("RKLLM {version} (ABI {})", self.abi),
            None => format!("an unknown release (ABI {})", self.abi),
        };
        Failure::lacks(feature, needs, &have)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(", "))
    }
}

/// Whether a library of `abi`, of `release` where that is known, has what came with `since`.
///
/// Inside a layout only a known release can tell; without one, the oldest is assumed.
fn reached(since: &str, abi: AbiVersion, release: Option<&Version>) -> bool {
    let oldest = match abi {
        AbiVersion::V1_1_0 => ([1, 1, 0], ""),
        AbiVersion::V1_2_0 => ([1, 2, 0], ""),
        AbiVersion::V1_2_1 => ([1, 2, 1], ""),
        AbiVersion::V1_3_0 => ([1, 3, 0], ""),
        AbiVersion::V1_3_1 => ([1, 3, 1], ""),
    };
    let Some(since) = Version::parse(since) else {
        return false;
    };
    let since = order(since.numbers(), since.suffix());
    let by_release = release.is_some_and(|have| order(have.numbers(), have.suffix()) >= since);
    // A release admitted by abi= may call itself anything: its layout bounds what we may use.
    let newest = match abi {
        AbiVersion::V1_1_0 => [1, 1, u32::MAX],
        AbiVersion::V1_2_0 => [1, 2, 1],
        AbiVersion::V1_2_1 => [1, 2, u32::MAX],
        AbiVersion::V1_3_0 => [1, 3, 0],
        AbiVersion::V1_3_1 => [u32::MAX; 3],
    };
    let bound = match abi {
        AbiVersion::V1_2_0 => order(newest, "b1"),
        _ => order(newest, ""),
    };
    since <= bound && (order(oldest.0, oldest.1) >= since || by_release)
}

/// A suffix marks a preview, which comes before the release of the same number.
fn order(numbers: [u32; 3], suffix: &str) -> ([u32; 3], bool) {
    (numbers, suffix.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::Release;
    use super::super::symbols::tests::official;
    use super::*;
    use crate::protocol::error::ErrorKind;

    fn capabilities(
        abi: AbiVersion,
        version: Option<&str>,
        level: usize,
        cpu: bool,
    ) -> Capabilities {
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
}

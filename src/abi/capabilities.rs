//! What a loaded library can do.

use std::fmt;

use super::wording::wording;
use super::{AbiVersion, Exports, Identity, NEWEST, Version};
use crate::protocol::error::Failure;

/// A feature, the release that brings it and the functions it needs.
struct Feature {
    name: &'static str,
    since: &'static str,
    functions: &'static [&'static str],
}

const fn feature(
    name: &'static str,
    since: &'static str,
    functions: &'static [&'static str],
) -> Feature {
    Feature {
        name,
        since,
        functions,
    }
}

/// Ordered by release. `cpu` stands for what the CPU runtime alone can tell.
const FEATURES: &[Feature] = &[
    feature("abort", "1.0.1", &["rkllm_abort"]),
    feature("token_input", "1.1.0", &[]),
    feature("embedding_input", "1.1.0", &[]),
    feature("multimodal_input", "1.1.0", &[]),
    feature("hidden_states", "1.1.0", &[]),
    feature("lora", "1.1.0", &["rkllm_load_lora"]),
    feature(
        "prompt_cache",
        "1.1.0",
        &["rkllm_load_prompt_cache", "rkllm_release_prompt_cache"],
    ),
    feature("is_running", "1.1.0", &["rkllm_is_running"]),
    feature("logits", "1.2.0", &[]),
    feature("keep_history", "1.2.0", &[]),
    feature("prefix_reuse", "1.2.0", &[]),
    feature("n_keep", "1.2.0", &[]),
    feature("chat_template", "1.2.0", &["rkllm_set_chat_template"]),
    feature("clear_kv_cache", "1.2.0", &["rkllm_clear_kv_cache"]),
    feature("cpu_mask", "1.2.0", &[]),
    feature("embed_flash", "1.2.0", &[]),
    feature("multi_image", "1.2.1b1", &[]),
    feature("role", "1.2.1", &[]),
    feature("thinking", "1.2.1", &[]),
    feature("function_tools", "1.2.1", &["rkllm_set_function_tools"]),
    feature("pause", "1.2.1", &[]),
    feature("perf", "1.2.1", &[]),
    feature("batch", "1.2.1", &[]),
    feature("cross_attention", "1.2.1", &["rkllm_set_cross_attn_params"]),
    feature("kv_cache_size", "1.2.1", &["rkllm_get_kv_cache_size"]),
    feature("kv_cache_range", "1.2.1", &["rkllm_clear_kv_cache"]),
    feature("multi_instance", "1.2.2", &[]),
    feature("embedding_prefix_reuse", "1.2.3", &[]),
    feature("per_run_sampling", "1.3.0", &[]),
    feature("per_run_max_new_tokens", "1.3.0", &[]),
    feature("ignore_eos", "1.3.0", &[]),
    feature("tokenizer_callback", "1.3.0", &[]),
    feature("embedding_callback", "1.3.0", &[]),
    feature("video", "1.3.0", &[]),
    feature("per_run_image_markers", "1.3.0", &[]),
    feature("release_output", "1.3.0", &[]),
    feature("audio", "1.3.1", &[]),
    feature("count_tokens", "cpu", &[]),
    feature("model_info", "cpu", &[]),
    feature("seed", "cpu", &[]),
    feature("tokenize", "cpu", &[]),
    feature("structured_output", "cpu", &[]),
    feature("own_sampling", "cpu", &[]),
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
        let able = |row: &&Feature| {
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

    fn of(identity: &Identity, has: impl FnMut(&&Feature) -> bool) -> Self {
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
            Ok(())
        } else {
            Err(self.lacks_feature(feature, what))
        }
    }

    /// The error of `what` the caller wrote, which needs a feature that the loaded library lacks.
    pub(crate) fn lacks_feature(&self, feature: &str, what: &str) -> Failure {
        let Some(row) = FEATURES.iter().find(|row| row.name == feature) else {
            return Failure::invalid_with_hint(
                "feature",
                format!("must be the name of a feature, got {feature:?}"),
                "See the names in Runtime.capabilities.",
            );
        };
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
        self.lacks(what, &needs)
    }

    /// The release that brings a feature, for hints.
    pub(crate) fn since(feature: &str) -> &'static str {
        let mut all = Self::all().filter(|(name, _)| *name == feature);
        all.next().map_or("", |(_, since)| since)
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

    /// Which libraries survive that.
    pub(crate) const WITH_LOGITS_AFTER_HISTORY: &'static str = "RKLLM 1.3.0 or later";

    /// Whether a run can have a limit of its own: the feature `per_run_max_new_tokens`, which each run asks for.
    pub(crate) fn has_limits_of_runs(&self) -> bool {
        self.abi >= AbiVersion::V1_3_0
    }

    /// Whether the markers around images are given when a model is opened.
    pub(crate) fn has_markers_at_init(&self) -> bool {
        self.abi < AbiVersion::V1_3_0
    }

    /// Which libraries take them there.
    pub(crate) const WITH_MARKERS_AT_INIT: &'static str = "RKLLM 1.2.3 or earlier";

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

/// What a release can do with several models, where no library is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Several {
    /// Whether a model can begin in another IOMMU domain than 0.
    pub has_domains: bool,
    /// The release that is needed for several models in one process, if this one cannot.
    pub needs: Option<&'static str>,
}

impl Several {
    /// Reads a release such as `1.2.3`, also where it is written as `v1_2_3`, or without its last number.
    ///
    /// # Errors
    ///
    /// `ErrorKind::InvalidArgument` for what is no release.
    pub fn of(release: &str) -> Result<Self, Failure> {
        let text = release
            .trim()
            .trim_start_matches(['v', 'V'])
            .replace('_', ".");
        let found = Version::parse(&text).or_else(|| Version::parse(&format!("{text}.0")));
        let have = found.ok_or_else(|| {
            Failure::invalid_with_hint(
                "release",
                format!("must be a release of RKLLM, got {release:?}"),
                "Pass a number such as \"1.2.3\".",
            )
        })?;
        let reached = |text: &str| {
            Version::parse(text).is_some_and(|since| {
                order(have.numbers(), have.suffix()) >= order(since.numbers(), since.suffix())
            })
        };
        let several = Capabilities::since("multi_instance");
        Ok(Self {
            has_domains: reached("1.2.0"),
            needs: (!reached(several)).then_some(several),
        })
    }
}

/// A suffix marks a preview, which comes before the release of the same number.
fn order(numbers: [u32; 3], suffix: &str) -> ([u32; 3], bool) {
    (numbers, suffix.is_empty())
}

#[cfg(test)]
#[path = "capabilities_tests.rs"]
mod tests;

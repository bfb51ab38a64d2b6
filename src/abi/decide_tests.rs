//! What follows from each piece of evidence, and from those that contradict each other.
//!
//! Long because each kind is weighed against each other, case by case.

use super::super::symbols::tests::official;
use super::*;
use crate::abi::{Exports, KnownLibrary, known_library};

const FILE_1_0_1: &str = "a026cbe60905af0ad6c07dfa2fcc339dd4b9fa10";
const FILE_1_1_4: &str = "3bb8cb6172c4c06e1c622c8f8c579888378784f4";
const FILE_1_2_1B1: &str = "db041c01bba5e0e8f624bb2ff50d48825dde1bfc";
const FILE_1_2_3: &str = "0084abc34ab43359cfa9fd5d4c92ece34127dbd0";
const FILE_1_3_0: &str = "34167b32f99cb7ab19e21fb579fb750d96b878f1";
/// Its Git blob id is not known, but its SHA-256 is.
const FILE_1_3_1: &str = "f25e9b099db08aaacd0a3ac62b4697d3951d6ae61ae41ea09f6702cfa89eb32c";

fn file(id: &str) -> Option<&'static KnownLibrary> {
    let found = known_library(id, Some(id));
    assert!(found.is_some(), "{id}");
    found
}

fn banner(text: &str) -> Vec<Version> {
    vec![Version::parse(text).unwrap()]
}

/// A library without A and B, with the functions of a level and an answer of the probe.
fn library(level: usize, probe: Probe) -> Evidence {
    Evidence {
        exports: Some(official(level)),
        probe,
        ..Evidence::default()
    }
}

/// What is expected: a layout, or a reason by its name.
type Expected = Result<AbiVersion, &'static str>;

fn name(reason: &RefusalReason) -> &'static str {
    match reason {
        RefusalReason::TooOld => "old",
        RefusalReason::Disagreement => "disagree",
        RefusalReason::Contradicted { .. } => "contradicted",
        RefusalReason::Newer(_) => "newer",
        RefusalReason::UnknownRelease(_) => "unknown",
        RefusalReason::Incomplete(_) => "incomplete",
        RefusalReason::Unconfirmed(_) => "unconfirmed",
        RefusalReason::TooLittle(_) => "little",
        RefusalReason::BrokenCpuRuntime => "broken",
        RefusalReason::AlreadyLoaded { .. } | RefusalReason::WrongBackend { .. } => "not here",
    }
}

fn verdict(evidence: &Evidence) -> Expected {
    let decided = decide(evidence).map(|identity| identity.abi);
    // What the precheck refuses, more evidence must not have rescued, and the other way round for
    // everything but the want of evidence.
    if precheck(evidence).is_err() {
        assert!(decided.is_err(), "{evidence:?}");
    }
    decided.map_err(|refusal| {
        assert!(!refusal.hint().is_empty() && !refusal.to_string().is_empty());
        name(&refusal.reason)
    })
}

const G11: Expected = Ok(AbiVersion::V1_1_0);
const G120: Expected = Ok(AbiVersion::V1_2_0);
const G121: Expected = Ok(AbiVersion::V1_2_1);
const G13: Expected = Ok(AbiVersion::V1_3_0);
const G131: Expected = Ok(AbiVersion::V1_3_1);

#[test]
fn fingerprints() {
    use Probe::{Unclear, V1_1, V1_2, V1_3};
    for (id, level, probe, expected) in [
        (FILE_1_0_1, 1, Unclear, Err("old")),
        (FILE_1_0_1, 2, Unclear, Err("old")),
        (FILE_1_1_4, 2, V1_1, G11),
        (FILE_1_1_4, 2, Unclear, G11),
        (FILE_1_1_4, 2, V1_2, Err("disagree")),
        (FILE_1_1_4, 3, V1_1, Err("disagree")),
        (FILE_1_2_1B1, 3, V1_2, G120),
        (FILE_1_2_1B1, 4, V1_2, Err("disagree")),
        (FILE_1_2_3, 4, V1_2, G121),
        (FILE_1_2_3, 4, Unclear, G121),
        (FILE_1_2_3, 4, V1_3, Err("disagree")),
        (FILE_1_2_3, 3, V1_2, Err("disagree")),
        (FILE_1_3_0, 4, V1_3, G13),
        (FILE_1_3_0, 4, Unclear, G13),
        (FILE_1_3_0, 4, V1_2, Err("disagree")),
        (FILE_1_3_1, 4, V1_3, G131),
        (FILE_1_3_1, 4, Unclear, G131),
        (FILE_1_3_1, 4, V1_2, Err("disagree")),
        (FILE_1_3_1, 3, V1_3, Err("disagree")),
    ] {
        let evidence = Evidence {
            fingerprint: file(id),
            ..library(level, probe)
        };
        assert_eq!(verdict(&evidence), expected, "{evidence:?}");
    }
}

#[test]
fn banners() {
    use Probe::{Unclear, V1_1, V1_2, V1_3};
    for (text, level, probe, expected) in [
        ("1.0.0", 0, Unclear, Err("old")),
        ("1.0.1", 1, Unclear, Err("old")),
        ("1.0.7b2", 4, V1_3, Err("old")),
        ("1.1.4", 2, V1_1, G11),
        ("1.1.0", 2, Unclear, G11),
        ("1.1.4", 2, V1_2, Err("disagree")),
        ("1.2.0", 3, V1_2, G120),
        ("1.2.1b1", 3, V1_2, G120),
        ("1.2.1b1", 4, V1_2, Err("disagree")),
        ("1.2.1", 3, V1_2, Err("disagree")),
        ("1.2.1", 4, V1_2, G121),
        ("1.2.3", 4, V1_2, G121),
        ("1.2.3", 4, Unclear, Err("unconfirmed")),
        ("1.2.3", 4, V1_3, Err("disagree")),
        ("1.3.0", 4, V1_3, G13),
        ("1.3.0", 4, V1_2, Err("disagree")),
        ("1.3.0", 4, Unclear, Err("unconfirmed")),
        ("1.3.1", 4, V1_3, G131),
        ("1.3.1", 4, V1_2, Err("disagree")),
        ("1.3.1", 4, Unclear, Err("unconfirmed")),
        ("1.3.1", 3, V1_3, Err("disagree")),
        ("1.3.0b1", 4, V1_3, Err("unknown")),
        ("1.3.1b1", 4, V1_3, Err("unknown")),
        ("1.2.4", 4, V1_2, Err("unknown")),
        ("1.3.2", 4, V1_3, Err("newer")),
        ("2.0.0", 4, V1_3, Err("newer")),
    ] {
        let evidence = Evidence {
            banners: banner(text),
            ..library(level, probe)
        };
        assert_eq!(verdict(&evidence), expected, "{evidence:?}");
    }
}

#[test]
fn functions_and_defaults_alone() {
    use Probe::{Unclear, V1_1, V1_2, V1_3};
    for (level, probe, expected) in [
        (0, Unclear, Err("old")),
        (1, Unclear, Err("old")),
        (2, V1_1, G11),
        (2, Unclear, G11),
        (2, V1_2, Err("disagree")),
        (2, V1_3, Err("disagree")),
        (3, V1_2, G120),
        (3, Unclear, G120),
        (3, V1_1, Err("disagree")),
        (4, V1_2, G121),
        // 1.3.0 and 1.3.1 have the same functions and defaults.
        (4, V1_3, Err("little")),
        (4, Unclear, Err("little")),
        (4, V1_1, Err("disagree")),
    ] {
        assert_eq!(
            verdict(&library(level, probe)),
            expected,
            "{level} {probe:?}"
        );
    }
}

#[test]
fn explicit_fills_and_admits_but_never_overrides() {
    use AbiVersion::{V1_1_0, V1_2_0, V1_2_1, V1_3_0, V1_3_1};
    use Probe::{Unclear, V1_2, V1_3};
    for (text, level, probe, asked, expected) in [
        // fills what is missing
        (None, 4, Unclear, V1_2_1, G121),
        (None, 4, Unclear, V1_3_0, G13),
        (None, 4, V1_3, V1_3_0, G13),
        (None, 4, V1_3, V1_3_1, G131),
        (Some("1.3.0"), 4, Unclear, V1_3_0, G13),
        (Some("1.2.4"), 4, V1_2, V1_2_1, G121),
        // admits a newer banner
        (Some("1.4.0"), 4, V1_3, V1_3_1, G131),
        (Some("1.4.0"), 4, Unclear, V1_3_0, G13),
        // agrees with what is known anyway
        (Some("1.3.1"), 4, V1_3, V1_3_1, G131),
        (Some("1.2.1b1"), 3, V1_2, V1_2_0, G120),
        // never overrides
        (None, 4, V1_3, V1_2_1, Err("contradicted")),
        (None, 4, V1_2, V1_3_0, Err("contradicted")),
        (None, 4, Unclear, V1_1_0, Err("contradicted")),
        (None, 3, V1_2, V1_2_1, Err("contradicted")),
        (Some("1.2.3"), 4, Unclear, V1_3_0, Err("contradicted")),
        (Some("1.3.0"), 4, V1_3, V1_2_1, Err("contradicted")),
        (Some("1.3.0"), 4, V1_3, V1_3_1, Err("contradicted")),
        (Some("1.3.1"), 4, V1_3, V1_3_0, Err("contradicted")),
        (Some("1.4.0"), 4, V1_3, V1_2_1, Err("contradicted")),
        (Some("1.4.0"), 2, Unclear, V1_3_1, Err("contradicted")),
        (Some("1.2.3"), 4, V1_3, V1_3_0, Err("disagree")),
        (Some("1.0.1"), 1, Unclear, V1_1_0, Err("old")),
        (None, 1, Unclear, V1_1_0, Err("old")),
    ] {
        let evidence = Evidence {
            banners: text.map(banner).unwrap_or_default(),
            explicit: Some(asked),
            ..library(level, probe)
        };
        assert_eq!(verdict(&evidence), expected, "{evidence:?}");
    }
}

#[test]
fn fingerprint_and_banner_must_agree() {
    let both = |id, text| Evidence {
        fingerprint: file(id),
        banners: banner(text),
        ..library(4, Probe::Unclear)
    };
    assert_eq!(verdict(&both(FILE_1_3_0, "1.3.0")), G13);
    assert_eq!(verdict(&both(FILE_1_3_0, "1.2.3")), Err("disagree"));
    assert_eq!(verdict(&both(FILE_1_3_1, "1.3.1")), G131);
    assert_eq!(verdict(&both(FILE_1_3_1, "1.3.0")), Err("disagree"));
    assert_eq!(verdict(&both(FILE_1_3_0, "1.3.1")), Err("disagree"));
    assert_eq!(verdict(&both(FILE_1_3_0, "1.4.0")), Err("newer"));
    // The bytes are known; a text never seen outside of them says nothing against it.
    assert_eq!(verdict(&both(FILE_1_3_0, "1.3.0b7")), G13);
    let two = Evidence {
        banners: [banner("1.2.3"), banner("1.3.0")].concat(),
        ..library(4, Probe::V1_3)
    };
    assert_eq!(verdict(&two), Err("disagree"));
}

#[test]
fn a_library_that_names_itself_may_have_gaps() {
    let exports = Exports::collect(|name| name != "rkllm_set_function_tools");
    let mut evidence = Evidence {
        exports: Some(exports),
        banners: banner("1.3.0"),
        probe: Probe::V1_3,
        ..Evidence::default()
    };
    assert_eq!(verdict(&evidence), G13);
    evidence.probe = Probe::Unclear;
    assert_eq!(verdict(&evidence), Err("unconfirmed"));
    evidence.probe = Probe::V1_3;
    evidence.banners.clear();
    assert_eq!(verdict(&evidence), Err("incomplete"));
    evidence.explicit = Some(AbiVersion::V1_3_0);
    assert_eq!(verdict(&evidence), G13);
    evidence.explicit = Some(AbiVersion::V1_2_0);
    assert_eq!(verdict(&evidence), Err("contradicted"));
}

#[test]
fn the_cpu_runtime_is_itself() {
    let whole = Evidence {
        marker: true,
        cpu_table: true,
        banners: banner("1.3.0"),
        ..library(4, Probe::V1_3)
    };
    let identity = decide(&whole).unwrap();
    assert!(identity.cpu_runtime);
    assert_eq!(identity.abi, AbiVersion::V1_3_0);
    assert_eq!(identity.evidence[0].kind, EvidenceKind::Marker);
    // Its own word is enough, and a function may be missing; a contradiction is one all the same.
    let exports = Exports::collect(|name| name != "rkllm_set_cross_attn_params");
    let bare = Evidence {
        exports: Some(exports),
        banners: Vec::new(),
        probe: Probe::Unclear,
        ..whole.clone()
    };
    assert_eq!(verdict(&bare), G13);
    assert_eq!(
        verdict(&Evidence {
            probe: Probe::V1_2,
            ..whole.clone()
        }),
        Err("disagree")
    );
    let asked = Evidence {
        explicit: Some(AbiVersion::V1_2_1),
        ..whole.clone()
    };
    assert_eq!(verdict(&asked), Err("contradicted"));
    // Half of one is neither the CPU runtime nor the vendor's library.
    assert_eq!(
        verdict(&Evidence {
            cpu_table: false,
            ..whole.clone()
        }),
        Err("broken")
    );
    assert_eq!(
        verdict(&Evidence {
            marker: false,
            ..whole
        }),
        Err("broken")
    );
    let vendor = decide(&Evidence {
        banners: banner("1.3.0"),
        ..library(4, Probe::V1_3)
    });
    assert!(!vendor.unwrap().cpu_runtime);
}

#[test]
fn the_file_alone_refuses_early_and_accepts_nothing() {
    for (text, refused) in [
        ("1.0.1", true),
        ("1.4.0", true),
        ("1.2.9", true),
        ("1.2.3", false),
        ("1.3.0", false),
    ] {
        let evidence = Evidence {
            banners: banner(text),
            ..Evidence::default()
        };
        assert_eq!(precheck(&evidence).is_err(), refused, "{text}");
        assert!(decide(&evidence).is_err(), "{text}");
    }
    assert!(precheck(&Evidence::default()).is_ok());
    assert_eq!(verdict(&Evidence::default()), Err("little"));
    let admitted = Evidence {
        banners: banner("1.4.0"),
        explicit: Some(AbiVersion::V1_3_0),
        ..Evidence::default()
    };
    assert!(precheck(&admitted).is_ok());
    // The CPU runtime's table can only be asked for once the library is loaded.
    assert!(
        precheck(&Evidence {
            marker: true,
            ..Evidence::default()
        })
        .is_ok()
    );
}

#[test]
fn the_evidence_is_told() {
    let evidence = Evidence {
        banners: banner("1.2.3"),
        explicit: Some(AbiVersion::V1_2_1),
        ..library(4, Probe::V1_2)
    };
    let identity = decide(&evidence).unwrap();
    assert_eq!(identity.version.as_deref(), Some("1.2.3"));
    let told: Vec<String> = identity.evidence.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "banner: release 1.2.3 (v1_2_1)",
            "symbols: exports 15 documented functions (v1_2_1 or v1_3_0 or v1_3_1)",
            "defaults: default parameters of 1.2.x (v1_2_0 or v1_2_1)",
            "explicit: abi=\"v1_2_1\" (v1_2_1)",
        ]
    );
    let refusal = decide(&Evidence {
        probe: Probe::V1_3,
        ..evidence
    })
    .unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::Disagreement);
    assert!(refusal.to_string().contains("banner: release 1.2.3"));
}

#[test]
fn an_accepted_library_is_never_one_that_evidence_excludes() {
    let files = [
        None,
        file(FILE_1_0_1),
        file(FILE_1_1_4),
        file(FILE_1_2_1B1),
        file(FILE_1_2_3),
        file(FILE_1_3_0),
        file(FILE_1_3_1),
    ];
    let banners = [
        "", "1.0.1", "1.1.4", "1.2.0", "1.2.1b1", "1.2.1", "1.2.4", "1.3.0", "1.3.1", "1.4.0",
    ];
    let probes = [
        Probe::NotRun,
        Probe::Unclear,
        Probe::V1_1,
        Probe::V1_2,
        Probe::V1_3,
    ];
    let asked = [None].into_iter().chain(AbiVersion::ALL.map(Some));
    for explicit in asked {
        for fingerprint in files {
            for text in banners {
                for level in 0..5 {
                    for probe in probes {
                        let banners = if text.is_empty() {
                            Vec::new()
                        } else {
                            banner(text)
                        };
                        let evidence = Evidence {
                            fingerprint,
                            banners,
                            explicit,
                            ..library(level, probe)
                        };
                        let Ok(identity) = decide(&evidence) else {
                            continue;
                        };
                        let abi = identity.abi;
                        assert!(
                            identity
                                .evidence
                                .iter()
                                .all(|line| line.allows.contains(abi))
                        );
                        assert!(explicit.is_none_or(|asked| asked == abi));
                        assert!(precheck(&evidence).is_ok());
                    }
                }
            }
        }
    }
}

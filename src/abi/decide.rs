//! From evidence to an identity, or to a refusal. Nothing here looks at a library.

use super::evidence::{Evidence, EvidenceKind, EvidenceLine, Identity, Probe};
use super::refusal::{Refusal, RefusalReason};
use super::{AbiVersion, Layouts, Release, Version};

/// Decides which layout a library speaks.
///
/// All evidence must agree. `abi=` fills what is missing and admits a release that is not known, but
/// overrides nothing. The fingerprint of an official file needs no company; a banner needs the
/// functions, and where these cannot separate layouts also the default parameters.
///
/// # Errors
///
/// The [`Refusal`], when the evidence disagrees, is too little, or tells of an unsupported release.
pub fn decide(evidence: &Evidence) -> Result<Identity, Refusal> {
    let lines = lines(evidence);
    match weigh(evidence, &lines, true) {
        Ok(abi) => Ok(Identity {
            abi,
            version: version(evidence),
            cpu_runtime: evidence.marker && evidence.cpu_table,
            newer: newer(evidence).is_some(),
            evidence: lines,
        }),
        Err(reason) => Err(Refusal {
            reason,
            evidence: lines,
        }),
    }
}

/// Refuses early what no further evidence can make acceptable.
///
/// Serves to spare an unsuitable library its loading, or its first call.
///
/// # Errors
///
/// As [`decide`], but never for too little evidence.
pub fn precheck(evidence: &Evidence) -> Result<(), Refusal> {
    let lines = lines(evidence);
    weigh(evidence, &lines, false)
        .map(|_| ())
        .map_err(|reason| Refusal {
            reason,
            evidence: lines,
        })
}

fn version(evidence: &Evidence) -> Option<String> {
    match evidence.fingerprint {
        Some(known) => Some(known.release.clone()),
        None => evidence.banners.first().map(ToString::to_string),
    }
}

/// A banner's release above the newest known one.
fn newer(evidence: &Evidence) -> Option<&Version> {
    let mut banners = evidence.banners.iter();
    banners.find(|one| one.release() == Release::Newer)
}

/// Weighs the evidence; without `complete`, an undecided case gives any layout still possible.
fn weigh(
    evidence: &Evidence,
    lines: &[EvidenceLine],
    complete: bool,
) -> Result<AbiVersion, RefusalReason> {
    let found = |line: &&EvidenceLine| line.kind != EvidenceKind::Explicit;
    let possible = lines
        .iter()
        .filter(found)
        .fold(Layouts::ANY, |left, line| left.and(line.allows));

    if evidence.exports.is_some() && evidence.marker != evidence.cpu_table {
        return Err(RefusalReason::BrokenCpuRuntime);
    }
    // A fingerprint or a banner of 1.0.x is told as that, whatever else does not fit.
    let old = |line: &EvidenceLine| line.allows.within(Layouts::V1_0);
    if possible.is_empty() {
        let named = |kind| kind == EvidenceKind::Fingerprint || kind == EvidenceKind::Banner;
        let all_old = lines.iter().any(|line| named(line.kind))
            && lines.iter().filter(|line| named(line.kind)).all(old);
        return Err(if all_old {
            RefusalReason::TooOld
        } else {
            RefusalReason::Disagreement
        });
    }
    if possible.within(Layouts::V1_0) {
        return Err(RefusalReason::TooOld);
    }
    if let Some(asked) = evidence.explicit {
        if !possible.contains(asked) {
            return Err(RefusalReason::Contradicted { asked, possible });
        }
        return Ok(asked);
    }

    // The bytes of an official file say more than the text in them.
    if evidence.fingerprint.is_none() {
        for banner in &evidence.banners {
            match banner.release() {
                Release::Unknown => return Err(RefusalReason::UnknownRelease(banner.clone())),
                Release::Newer => return Err(RefusalReason::Newer(banner.clone())),
                Release::Known(_) | Release::TooOld => {}
            }
        }
    } else if let Some(newer) = newer(evidence) {
        return Err(RefusalReason::Newer(newer.clone()));
    }
    let cpu_runtime = evidence.marker && evidence.cpu_table;
    let level = evidence.exports.as_ref().map(super::Exports::level);
    // A library that says its release may lack functions: that fails the calls which need them. One
    // that says nothing is judged by its functions, so these must be all there.
    let named = evidence.fingerprint.is_some() || !evidence.banners.is_empty();
    if let Some(level) = &level {
        if !level.missing.is_empty() && !cpu_runtime && !named {
            return Err(RefusalReason::Incomplete(level.missing.clone()));
        }
    }
    let any = AbiVersion::ALL
        .into_iter()
        .rfind(|one| possible.contains(*one));
    if !complete {
        return any.ok_or(RefusalReason::Disagreement);
    }
    // A banner alone could be a patched or mislabelled file's: where the functions do not separate
    // the layouts, the default parameters must.
    let separable = level.is_some_and(|level| level.allows.len() == 1);
    let probed = !matches!(evidence.probe, Probe::NotRun | Probe::Unclear);
    if evidence.fingerprint.is_none() && !cpu_runtime && !separable && !probed {
        if possible.len() == 1 {
            return Err(RefusalReason::Unconfirmed(possible));
        }
        let functions = evidence
            .exports
            .as_ref()
            .map_or(Layouts::ANY, |all| all.level().allows);
        return Err(RefusalReason::TooLittle(functions));
    }
    possible.only().ok_or(RefusalReason::TooLittle(possible))
}

/// Puts the evidence into words.
fn lines(evidence: &Evidence) -> Vec<EvidenceLine> {
    let mut lines = Vec::new();
    let mut add = |kind, finding, allows| {
        lines.push(EvidenceLine {
            kind,
            finding,
            allows,
        });
    };
    if evidence.marker {
        let finding = "has the mark of the CPU runtime".to_owned();
        add(
            EvidenceKind::Marker,
            finding,
            Layouts::of(AbiVersion::V1_3_0),
        );
    }
    if let Some(known) = evidence.fingerprint {
        let finding = format!(
            "official release {} for {} {}",
            known.release, known.os, known.arch
        );
        add(EvidenceKind::Fingerprint, finding, known.layouts());
    }
    for banner in &evidence.banners {
        let (finding, allows) = told(banner);
        add(EvidenceKind::Banner, finding, allows);
    }
    if let Some(exports) = &evidence.exports {
        let level = exports.level();
        let mut finding = format!("exports {} documented functions", exports.names().len());
        if !level.missing.is_empty() {
            finding = format!("{finding}, but not {}", level.missing.join(", "));
        }
        add(EvidenceKind::Symbols, finding, level.allows);
    }
    let finding = match evidence.probe {
        Probe::NotRun => None,
        Probe::Unclear => Some("default parameters of no known release"),
        Probe::V1_1 => Some("default parameters of 1.1.x"),
        Probe::V1_2 => Some("default parameters of 1.2.x"),
        Probe::V1_3 => Some("default parameters of 1.3.x"),
    };
    if let Some(finding) = finding {
        add(
            EvidenceKind::Defaults,
            finding.to_owned(),
            evidence.probe.allows(),
        );
    }
    if let Some(asked) = evidence.explicit {
        add(
            EvidenceKind::Explicit,
            format!("abi=\"{asked}\""),
            Layouts::of(asked),
        );
    }
    lines
}

fn told(banner: &Version) -> (String, Layouts) {
    match banner.release() {
        Release::Known(layouts) => (format!("release {banner}"), layouts),
        Release::TooOld => (format!("release {banner}"), Layouts::V1_0),
        Release::Newer => (
            format!("release {banner}, newer than any known one"),
            Layouts::ANY,
        ),
        Release::Unknown => (
            format!("release {banner}, which is not known"),
            Layouts::ANY,
        ),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

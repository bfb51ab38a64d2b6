//! Which models a folder stands for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{BackendKind, ModelKind, ModelProblem};

/// The models in a folder: one of each kind at most, of those that matter.
pub(super) fn inside(
    folder: &Path,
    required: Option<BackendKind>,
) -> Result<Vec<(PathBuf, ModelKind)>, ModelProblem> {
    let unreadable =
        |error: std::io::Error| ModelProblem::Unreadable(crate::library::reason(&error));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    let mut found = Vec::new();
    for kind in ModelKind::ALL {
        let mut same: Vec<&PathBuf> = paths
            .iter()
            .filter(|path| ModelKind::of(path) == Some(kind) && !path.is_dir() && !is_part(path))
            .collect();
        if same.len() > 1 && required.is_none_or(|backend| backend == kind.backend()) {
            let name = |path: &&PathBuf| {
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default()
            };
            return Err(ModelProblem::Several(kind, same.iter().map(name).collect()));
        }
        found.extend(same.drain(..).take(1).map(|path| (path.clone(), kind)));
    }
    if found.is_empty() {
        Err(ModelProblem::NoModelInside)
    } else {
        Ok(found)
    }
}

/// Files beside a model that are none by themselves: vision projectors, later parts of split models
/// and what some systems leave on foreign disks.
fn is_part(path: &Path) -> bool {
    let name = path
        .file_stem()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let later_part = name
        .rsplit_once("-of-")
        .and_then(|(start, _)| start.rsplit_once('-'))
        .is_some_and(|(_, number)| number.parse::<u32>().is_ok_and(|number| number > 1));
    name.starts_with("mmproj") || name.starts_with('.') || later_part
}

//! Whether there is an NPU that this user may use.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::library::Environment;

/// The NPU's device node: `/dev/rknpu`, or a DRM node of the vendor's driver.
///
/// # Errors
///
/// Why there is none, in words for a message.
pub(super) fn npu(env: &Environment) -> Result<PathBuf, String> {
    let mut nodes = vec![env.at("/dev/rknpu")];
    if let Ok(entries) = fs::read_dir(env.at("/dev/dri")) {
        let mut drm: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        // A render node asks for no rights beyond those of its group.
        drm.sort_by_key(|path| (!named(path, "renderD"), path.clone()));
        nodes.extend(drm.into_iter().filter(|path| driven(path, env)));
    }
    let present: Vec<PathBuf> = nodes.into_iter().filter(|path| path.exists()).collect();
    let usable =
        |path: &&PathBuf| rustix::fs::access(*path, Access::READ_OK | Access::WRITE_OK).is_ok();
    match (present.iter().find(usable), present.first()) {
        (Some(path), _) => Ok(path.clone()),
        (None, Some(path)) => Err(format!(
            "your user cannot open {} (add it to that file's group)",
            path.display()
        )),
        (None, None) => {
            Err("neither /dev/rknpu nor a device of the rknpu driver in /dev/dri exists".to_owned())
        }
    }
}

/// The board's chip, as models are named after it, such as `rk3588`: an RK3588S, RK3582 or RK3583 is one too.
pub(crate) fn chip(env: &Environment) -> Option<String> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let file = fs::File::open(env.at("/proc/device-tree/compatible")).ok()?;
    file.take(4096).read_to_end(&mut text).ok()?;
    let chips = ["rk3588", "rk3582", "rk3583", "rk3576", "rk3562", "rv1126b"];
    let found = text.split(|byte| *byte == 0).rev().find_map(|entry| {
        let name = std::str::from_utf8(entry).ok()?.strip_prefix("rockchip,")?;
        let name = name.strip_suffix('s').unwrap_or(name);
        chips.into_iter().find(|chip| *chip == name)
    })?;
    let family = if found.starts_with("rk358") {
        "rk3588"
    } else {
        found
    };
    Some(family.to_owned())
}

fn named(path: &Path, prefix: &str) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(prefix))
}

/// Whether the DRM node belongs to the driver "RKNPU", by what the kernel tells all users.
fn driven(node: &Path, env: &Environment) -> bool {
    if !named(node, "renderD") && !named(node, "card") {
        return false;
    }
    let Some(name) = node.file_name() else {
        return false;
    };
    let device = env.at("/sys/class/drm").join(name).join("device");
    let link = fs::read_link(device.join("driver")).ok();
    let by_link = link
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    if by_link.is_some_and(|name| name.eq_ignore_ascii_case("rknpu")) {
        return true;
    }
    let event = fs::read_to_string(device.join("uevent")).unwrap_or_default();
    event
        .lines()
        .any(|line| line.eq_ignore_ascii_case("DRIVER=RKNPU"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A machine with an NPU, below a temporary folder.
    pub(crate) fn board() -> (tempfile::TempDir, Environment) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("dev")).unwrap();
        fs::write(root.path().join("dev/rknpu"), "").unwrap();
        let env = Environment::rooted(root.path().to_owned());
        (root, env)
    }

    #[test]
    fn a_node_of_its_own_is_found() {
        let (root, env) = board();
        assert_eq!(npu(&env), Ok(root.path().join("dev/rknpu")));
    }

    #[test]
    fn the_chip_is_that_of_whole_entries() {
        let (root, env) = board();
        assert_eq!(chip(&env), None);
        fs::create_dir_all(root.path().join("proc/device-tree")).unwrap();
        let file = root.path().join("proc/device-tree/compatible");
        for (text, expected) in [
            ("radxa,rock-5a\0rockchip,rk3588s\0", Some("rk3588")),
            (
                "rockchip,rk3588s-orangepi-5\0rockchip,rk3588\0",
                Some("rk3588"),
            ),
            (
                "rockchip,rk3576-evb1-v10\0rockchip,rk3576\0",
                Some("rk3576"),
            ),
            ("rockchip,rv1126b", Some("rv1126b")),
            ("rockchip,rk3568\0", None),
            ("rockchip,rk3588s-orangepi-5\0", None),
            ("", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(chip(&env).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_machine_without_one_says_so() {
        let root = tempfile::tempdir().unwrap();
        let env = Environment::rooted(root.path().to_owned());
        assert!(npu(&env).unwrap_err().contains("/dev/rknpu"));
    }

    #[test]
    fn drm_nodes_are_told_by_their_driver() {
        let root = tempfile::tempdir().unwrap();
        let env = Environment::rooted(root.path().to_owned());
        fs::create_dir_all(root.path().join("dev/dri/by-path")).unwrap();
        for (name, driver) in [
            ("card0", "panfrost"),
            ("renderD128", "panfrost"),
            ("card1", "RKNPU"),
            ("renderD129", "RKNPU"),
        ] {
            fs::write(root.path().join("dev/dri").join(name), "").unwrap();
            let device = root.path().join("sys/class/drm").join(name).join("device");
            fs::create_dir_all(&device).unwrap();
            if name == "card1" {
                fs::write(
                    device.join("uevent"),
                    format!("OF_NAME=npu\nDRIVER={driver}\n"),
                )
                .unwrap();
            } else {
                std::os::unix::fs::symlink(
                    Path::new("/sys/bus/platform/drivers").join(driver),
                    device.join("driver"),
                )
                .unwrap();
            }
        }
        assert_eq!(npu(&env), Ok(root.path().join("dev/dri/renderD129")));
        fs::remove_file(root.path().join("dev/dri/renderD129")).unwrap();
        assert_eq!(npu(&env), Ok(root.path().join("dev/dri/card1")));
        fs::remove_file(root.path().join("dev/dri/card1")).unwrap();
        assert!(npu(&env).is_err());
    }
}

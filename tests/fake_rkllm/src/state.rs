//! What the calls on a model leave behind.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::decode::View;
use crate::digest::CrossArrays;

/// The file of that name, as C gives names.
pub(crate) fn path(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

/// What the calls on a model leave behind, besides its runs.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The names of the adapters.
    adapters: Vec<Vec<u8>>,
    pub(crate) cross: Option<CrossArrays>,
}

impl State {
    /// Loads an adapter as the vendor's library does, or tells why not.
    pub(crate) fn load_adapter(&mut self, adapter: View<'_>) -> Result<(), String> {
        let text = |field| adapter.text(field).unwrap_or_default();
        let (file, name) = (text("lora_adapter_path"), text("lora_adapter_name"));
        if !path(&file).is_file() {
            let file = String::from_utf8_lossy(&file);
            return Err(format!("lora adapter file {file} does not exist"));
        }
        if self.adapters.contains(&name) {
            let name = String::from_utf8_lossy(&name);
            return Err(format!("lora adapter {name} is loaded already"));
        }
        self.adapters.push(name);
        Ok(())
    }

    /// Takes an adapter as loaded, since the script says so.
    pub(crate) fn take_adapter(&mut self, adapter: View<'_>) {
        self.adapters
            .push(adapter.text("lora_adapter_name").unwrap_or_default());
    }

    /// Whether a run may name this adapter.
    pub(crate) fn has_adapter(&self, name: &[u8]) -> bool {
        self.adapters.iter().any(|loaded| loaded == name)
    }
}

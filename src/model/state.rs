//! What an open model's owners know of it, besides what its engine knows.

use std::ffi::CString;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::abi::Capabilities;
use crate::client::Inbox;
use crate::protocol::LoraAdapter;
use crate::protocol::error::{BusyWith, Failure};

/// Who makes a call: a thread, or a task of an event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller(u64);

impl Caller {
    /// The calling thread.
    #[must_use]
    pub fn thread() -> Self {
        Self(
            rustix::thread::gettid()
                .as_raw_nonzero()
                .get()
                .unsigned_abs()
                .into(),
        )
    }

    /// A task, by a number of its own that no thread has: addresses are far above thread ids.
    #[must_use]
    pub fn task(number: u64) -> Self {
        Self(number | 1 << 63)
    }
}

/// Where the chat template of text input comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Template {
    /// The model's own.
    Model,
    /// Three strings that the library was given.
    Given,
    /// Three strings that we put around each prompt, for libraries without templates.
    Ours([String; 3]),
    /// A chat has switched the library's template off, which cannot be undone: its own renders text, too.
    Rendered(Renderer),
}

/// Makes a whole prompt of a text, its role, and whether the model is to think.
#[derive(Clone)]
pub(crate) struct Renderer(Arc<Render>);

type Render = dyn Fn(&str, &str, Option<bool>) -> Result<String, Failure> + Send + Sync;

impl Renderer {
    pub(crate) fn render(
        &self,
        text: &str,
        role: &str,
        thinking: Option<bool>,
    ) -> Result<String, Failure> {
        (self.0)(text, role, thinking)
    }
}

impl PartialEq for Renderer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Renderer")
    }
}

/// What the calls on one model share.
pub(crate) struct ModelState {
    pub(crate) template: Mutex<Template>,
    /// Loaded adapters, and those that are being loaded.
    loras: Mutex<Vec<(LoraAdapter, bool)>>,
    /// Who is in the middle of steps, and of which run.
    steps: Mutex<Vec<(Caller, Weak<Inbox>)>>,
    /// Which markers are single tokens, as far as that has been asked of the program's tokenizer.
    pub(crate) markers: Mutex<Vec<(String, Option<i32>)>>,
}

impl Template {
    /// The template of a model that is opened with `strings`. Releases before 1.2.0 have none, so that
    /// the strings are put around the prompts by us.
    pub(crate) fn of(strings: Option<&[CString; 3]>, able: &Capabilities) -> Self {
        match strings {
            None => Self::Model,
            Some(strings) if !able.has_templates() => Self::Ours(
                strings
                    .clone()
                    .map(|text| text.to_string_lossy().into_owned()),
            ),
            Some(_) => Self::Given,
        }
    }
}

impl ModelState {
    /// A chat switches the library's template off, if it is the model's own; text is rendered from now on.
    pub(crate) fn renders(
        &self,
        render: impl Fn(&str, &str, Option<bool>) -> Result<String, Failure> + Send + Sync + 'static,
    ) {
        let mut template = self.template.lock();
        if *template == Template::Model {
            *template = Template::Rendered(Renderer(Arc::new(render)));
        }
    }

    pub(crate) fn new(template: Template) -> Self {
        Self {
            template: Mutex::new(template),
            loras: Mutex::default(),
            steps: Mutex::default(),
            markers: Mutex::default(),
        }
    }

    pub(crate) fn template_set(&self) {
        *self.template.lock() = Template::Given;
    }

    /// The loaded adapters, in the order of their loading.
    pub(crate) fn loras(&self) -> Vec<LoraAdapter> {
        let all = self.loras.lock();
        let loaded = all.iter().filter(|(_, loaded)| *loaded);
        loaded.map(|(adapter, _)| adapter.clone()).collect()
    }

    /// Whether an adapter of that name is loaded, or being loaded before whatever is asked now.
    pub(crate) fn has_lora(&self, name: &str) -> bool {
        self.loras.lock().iter().any(|(lora, _)| lora.name == name)
    }

    /// Notes an adapter that is about to be loaded.
    pub(crate) fn lora_begins(&self, adapter: &LoraAdapter) -> Result<(), Failure> {
        let mut all = self.loras.lock();
        if all.iter().any(|(lora, _)| lora.name == adapter.name) {
            return Err(Failure::invalid_with_hint(
                "name",
                format!("{:?} is already the name of a loaded adapter", adapter.name),
                "Use another name; the runtime cannot unload an adapter.",
            ));
        }
        all.push((adapter.clone(), false));
        Ok(())
    }

    /// The library has loaded it, or not.
    pub(crate) fn lora_loaded(&self, name: &str, loaded: bool) {
        let mut all = self.loras.lock();
        if loaded {
            let found = all.iter_mut().find(|(lora, _)| lora.name == name);
            if let Some((_, loaded)) = found {
                *loaded = true;
            }
        } else {
            all.retain(|(lora, _)| lora.name != name);
        }
    }

    /// Refuses a run for one who is in the middle of steps, and would wait for himself.
    pub(crate) fn check_steps(&self, caller: Option<Caller>) -> Result<(), Failure> {
        let mut steps = self.steps.lock();
        // Steps can end without their reader: by a deadline, or when it was cancelled.
        steps.retain(|(_, run)| run.upgrade().is_some_and(|run| !run.has_ended()));
        if steps.is_empty() {
            return Ok(());
        }
        let caller = caller.unwrap_or_else(Caller::thread);
        // Those that nobody reads any more end by themselves, so that they can be waited for.
        let is_read = |run: &Weak<Inbox>| run.upgrade().is_some_and(|run| !run.is_left());
        if steps
            .iter()
            .any(|(owner, run)| *owner == caller && is_read(run))
        {
            return Err(Failure::busy(BusyWith::Steps));
        }
        Ok(())
    }

    /// Whether anybody is in the middle of steps.
    pub(crate) fn in_steps(&self) -> bool {
        !self.steps.lock().is_empty()
    }

    pub(crate) fn steps_begin(&self, caller: Caller, run: &Arc<Inbox>) {
        self.steps.lock().push((caller, Arc::downgrade(run)));
    }

    pub(crate) fn steps_end(&self, run: &Arc<Inbox>) {
        let ended = Arc::as_ptr(run);
        self.steps.lock().retain(|(_, one)| one.as_ptr() != ended);
    }
}

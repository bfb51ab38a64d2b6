//! What a model has been asked for besides runs, so that the next child's model is as the dead one's was.

use std::mem::discriminant;

use crate::protocol::message::Request;

/// Requests in the order in which they are to be made again.
#[derive(Default)]
pub(super) struct Restore(Vec<Request>);

impl Restore {
    /// Whether a request leaves something behind that outlives the runs.
    pub(super) fn wants(request: &Request) -> bool {
        matches!(
            request,
            Request::LoadLora(_)
                | Request::LoadPromptCache { .. }
                | Request::ReleasePromptCache
                | Request::SetChatTemplate(_)
                | Request::SetFunctionTools(_)
                | Request::SetCrossAttention(_)
        )
    }

    /// The library has done it.
    pub(super) fn note(&mut self, request: Request) {
        match &request {
            Request::ReleasePromptCache => self
                .0
                .retain(|earlier| !matches!(earlier, Request::LoadPromptCache { .. })),
            Request::LoadLora(_) => self.0.push(request),
            _ => {
                let same = discriminant(&request);
                self.0.retain(|earlier| discriminant(earlier) != same);
                self.0.push(request);
            }
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<Request> {
        self.0.get(at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::LoraAdapter;

    fn cache(path: &str) -> Request {
        Request::LoadPromptCache {
            path: path.into(),
            verify: true,
        }
    }

    #[test]
    fn the_last_of_a_kind_counts_and_adapters_add_up() {
        let lora = |name: &str| {
            Request::LoadLora(LoraAdapter {
                name: name.to_owned(),
                path: name.into(),
                scale: 1.0,
            })
        };
        let template = |text: &std::ffi::CStr| {
            Request::SetChatTemplate([text.to_owned(), text.to_owned(), text.to_owned()])
        };
        let mut restore = Restore::default();
        for request in [
            lora("a"),
            template(c"x"),
            cache("one"),
            lora("b"),
            template(c"y"),
            cache("two"),
        ] {
            restore.note(request);
        }
        let wanted = [lora("a"), lora("b"), template(c"y"), cache("two")];
        assert_eq!(restore.0, wanted);
        restore.note(Request::ReleasePromptCache);
        assert_eq!(restore.0, wanted[..3]);
    }
}

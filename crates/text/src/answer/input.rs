//! The text that is not read yet, and which of its markers were tokens of their own.

/// White space and stray brackets that are looked over for what follows, without being read.
pub(super) const LOOKED_OVER: usize = 64;

/// The place behind the white space that stands at `at`.
pub(super) fn after_space(text: &str, at: usize) -> usize {
    let rest = &text.as_bytes()[at..];
    let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
    at + space.count()
}

/// Whether a marker stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hit {
    /// It does, and has so many bytes.
    Yes(usize),
    /// The text ends inside it.
    Partial,
    /// It does not.
    No,
}

/// Markers that are single tokens: where they came, and which can come in no other way.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    /// Texts of markers with the token that means each.
    ids: Vec<(String, i32)>,
    /// Where in the buffer such a token's text begins, ascending.
    places: Vec<usize>,
}

impl Marks {
    pub(super) fn new(ids: Vec<(String, i32)>) -> Self {
        Self {
            ids,
            places: Vec::new(),
        }
    }

    /// The marker that `id` means.
    pub(super) fn text(&self, id: i32) -> Option<&str> {
        let known = self.ids.iter().find(|(_, known)| *known == id);
        known.map(|(text, _)| text.as_str())
    }

    pub(super) fn add(&mut self, place: usize) {
        self.places.push(place);
    }

    /// The first `bytes` of the buffer are gone.
    pub(super) fn shift(&mut self, bytes: usize) {
        self.places.retain(|&place| place >= bytes);
        for place in &mut self.places {
            *place -= bytes;
        }
    }

    pub(super) fn is_token(&self, text: &str) -> bool {
        self.ids.iter().any(|(known, _)| known == text)
    }

    fn is_at(&self, place: usize) -> bool {
        self.places.binary_search(&place).is_ok()
    }
}

/// The buffer as a reader sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) text: &'a str,
    /// Nothing follows.
    pub(super) is_last: bool,
    pub(super) marks: &'a Marks,
}

impl Input<'_> {
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// Whether `marker` stands at `at`. One that is a token is found only where that token came.
    #[inline]
    pub(super) fn hit(&self, at: usize, marker: &str) -> Hit {
        let rest = &self.text.as_bytes()[at..];
        // Nearly always it is told by its first byte.
        if let (Some(here), Some(first)) = (rest.first(), marker.as_bytes().first()) {
            if here != first {
                return Hit::No;
            }
        }
        if rest.starts_with(marker.as_bytes()) {
            if self.marks.is_token(marker) && !self.marks.is_at(at) {
                return Hit::No;
            }
            return Hit::Yes(marker.len());
        }
        let is_open = !self.is_last && marker.as_bytes().starts_with(rest);
        if is_open && !self.marks.is_token(marker) {
            return Hit::Partial;
        }
        Hit::No
    }

    /// The same for the longest of several.
    pub(super) fn any<S: AsRef<str>>(&self, at: usize, markers: &[S]) -> Hit {
        let mut longest = Hit::No;
        for marker in markers {
            match (self.hit(at, marker.as_ref()), longest) {
                (Hit::Partial, _) => return Hit::Partial,
                (Hit::Yes(new), Hit::Yes(old)) if new <= old => {}
                (Hit::Yes(new), _) => longest = Hit::Yes(new),
                (Hit::No, _) => {}
            }
        }
        longest
    }

    /// Where the white space that begins at `at` ends.
    pub(super) fn after_space(&self, at: usize) -> usize {
        after_space(self.text, at)
    }

    /// The same, but looks over no more than any model writes.
    pub(super) fn near_space(&self, at: usize) -> usize {
        let rest = self.text.as_bytes()[at..].iter().take(LOOKED_OVER);
        at + rest.take_while(|byte| byte.is_ascii_whitespace()).count()
    }

    /// Whether `at` is the end of what has come, and more may follow.
    pub(super) fn must_wait(&self, at: usize) -> bool {
        at >= self.text.len() && !self.is_last
    }
}

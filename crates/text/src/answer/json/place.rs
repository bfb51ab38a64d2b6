//! Where in a call that is JSON a reader is.

/// Where in a body the text is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the first bracket; perhaps in the line that opens a block of code.
    #[default]
    Start,
    Fence,
    /// In a comment up to the end of its line, then back.
    Comment(Box<Place>),
    /// In a list, before an object.
    Item,
    /// In an object, before a key.
    Key,
    Colon,
    Value,
    /// In a string that is collected: a key, a name, or arguments.
    Text {
        quote: u8,
        is_escaped: bool,
    },
    /// In a value that is passed on, or over.
    Nested,
    /// In a number or word.
    Scalar,
    /// After an object.
    Tail,
}

/// What a value is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Key,
    Name,
    Arguments,
    Other,
}

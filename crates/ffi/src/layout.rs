//! Declares the C structs and proves their layout while compiling.

/// Size, alignment and field offsets of one C struct, as this build has compiled it.
#[derive(Debug, Clone)]
pub struct StructLayout {
    /// The C name.
    pub name: &'static str,
    /// `sizeof`, in bytes.
    pub size: usize,
    /// `_Alignof`, in bytes.
    pub align: usize,
    /// C field names with `offsetof`, nested ones as `outer.inner`.
    pub fields: Vec<(String, usize)>,
}

/// A C struct whose layout can be printed.
pub(crate) trait Layout {
    /// The layout as compiled.
    fn layout() -> StructLayout;
}

/// Declares `repr(C)` structs with their expected layout.
///
/// `Name[size64, size32; align64, align32] { field: type = offset64, offset32; }`, all numbers
/// taken from the vendor's headers. A wrong number stops the build. `=> [a, b]` lists the C names
/// of the members of an unnamed union; `nested` marks an unnamed nested struct.
macro_rules! abi_structs {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident[$size64:literal, $size32:literal; $align64:literal, $align32:literal] {
            $($field:ident: $ty:ty $(=> [$($member:ident),*])? $(, $nested:ident)? = $off64:literal, $off32:literal;)*
        }
    )*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        #[allow(missing_docs, reason = "the fields bear their C names; the vendor's header is their documentation")]
        pub struct $name {
            $(pub $field: $ty,)*
        }

        const _: () = {
            const fn pick(on64: usize, on32: usize) -> usize {
                if cfg!(target_pointer_width = "64") { on64 } else { on32 }
            }
            assert!(size_of::<$name>() == pick($size64, $size32));
            assert!(align_of::<$name>() == pick($align64, $align32));
            $(assert!(std::mem::offset_of!($name, $field) == pick($off64, $off32));)*
        };

        impl $crate::layout::Layout for $name {
            fn layout() -> $crate::layout::StructLayout {
                let mut fields: Vec<(String, usize)> = Vec::new();
                $($crate::layout::abi_field!(fields, $name, $field, $ty, [$($($member),*)?] $($nested)?);)*
                $crate::layout::StructLayout {
                    name: stringify!($name),
                    size: size_of::<$name>(),
                    align: align_of::<$name>(),
                    fields,
                }
            }
        }
    )*};
}

macro_rules! abi_field {
    ($fields:ident, $name:ident, $field:ident, $ty:ty, []) => {
        $fields.push((stringify!($field).to_owned(), std::mem::offset_of!($name, $field)));
    };
    ($fields:ident, $name:ident, $field:ident, $ty:ty, [] nested) => {
        let base = std::mem::offset_of!($name, $field);
        $fields.push((stringify!($field).to_owned(), base));
        for (inner, offset) in <$ty as $crate::layout::Layout>::layout().fields {
            $fields.push((format!("{}.{inner}", stringify!($field)), base + offset));
        }
    };
    ($fields:ident, $name:ident, $field:ident, $ty:ty, [$($member:ident),+]) => {
        $($fields.push((stringify!($member).to_owned(), std::mem::offset_of!($name, $field)));)+
    };
}

pub(crate) use {abi_field, abi_structs};

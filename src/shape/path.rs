use std::fmt::Write as _;

/// A path into a row: the keys of the objects on the way to a value.
///
/// # Invariants
/// Has 1 to 8 keys.
#[derive(Clone, Debug)]
pub struct Path {
    keys: Box<[Box<[u8]>]>,
    given: Box<str>,
}

impl Path {
    /// The most keys of a path.
    pub(super) const MOST_KEYS: usize = 8;

    pub(super) fn new(keys: Vec<Box<[u8]>>, given: &str) -> Self {
        Self { keys: keys.into(), given: given.into() }
    }

    /// The unescaped keys. They are bytes, because JSON can escape half a surrogate pair, which UTF-8 can't represent.
    pub fn keys(&self) -> &[Box<[u8]>] {
        &self.keys
    }

    /// The path as given, with its quotes. This is the name of its column in a table.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// The canonical spelling: only keys that need quotes have them.
    pub fn canonical(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(|key| canonical_key(key)).collect();
        keys.join(".")
    }

    /// Whether `other` leads to the value at this path or into it.
    pub(super) fn holds(&self, other: &Self) -> bool {
        other.keys.starts_with(&self.keys)
    }
}

/// Paths are equal if they lead to the same value, whatever their spelling.
impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for Path {}

/// The characters that a key without quotes can't contain.
pub(super) const SPECIAL: [char; 4] = [',', ':', '.', '"'];

fn canonical_key(key: &[u8]) -> String {
    match str::from_utf8(key) {
        Ok(text) if !text.is_empty() && !text.starts_with('@') && !text.contains(SPECIAL) => text.to_owned(),
        _ => json_key(key),
    }
}

/// Encodes a key as a JSON string.
pub(super) fn json_key(key: &[u8]) -> String {
    let mut out = String::from("\"");
    let mut rest = key;
    while let Err(error) = str::from_utf8(rest) {
        let (text, invalid) = rest.split_at(error.valid_up_to());
        escape(str::from_utf8(text).unwrap_or_default(), &mut out);
        rest = lone_surrogate(invalid, &mut out);
    }
    escape(str::from_utf8(rest).unwrap_or_default(), &mut out);
    out.push('"');
    out
}

/// Writes text inside a JSON string.
fn escape(text: &str, out: &mut String) {
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
}

/// Writes the half of a surrogate pair at the start of these bytes, as serde_json decodes it; returns the bytes after it.
fn lone_surrogate<'a>(invalid: &'a [u8], out: &mut String) -> &'a [u8] {
    match invalid {
        &[0xed, high, low, ref rest @ ..] => {
            let unit = 0xd000 | u32::from(high & 0x3f) << 6 | u32::from(low & 0x3f);
            let _ = write!(out, "\\u{unit:04x}");
            rest
        }
        _ => {
            out.push(char::REPLACEMENT_CHARACTER);
            invalid.get(1..).unwrap_or_default()
        }
    }
}

//! Finds where JSON values end in a stream of bytes.
//!
//! Looks at every byte once, however the bytes come: what is remembered is the nesting, and whether a string or an escape
//! is open. Whether a value is valid JSON is for the parser; only its end, its size and its depth are decided here, so that
//! nothing larger or deeper than the limits ever reaches it.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;
use taskhost_api::MAX_MESSAGE_BYTES;

/// How deep arrays and objects may stand in each other; as deep as serde_json goes.
pub(crate) const MAX_NESTING: usize = 128;

/// How many bytes there is room for when more is read.
const READ_BYTES: usize = 16 * 1024;

/// Cuts bytes into JSON objects and arrays.
pub(crate) struct Framer {
    /// What has come and is not yet part of a whole value; begins with the value that is being read, if one is.
    buffer: BytesMut,
    /// How many bytes of the buffer have been looked at.
    scanned: usize,
    /// Whether there was a value for which there had to be more room than usual.
    has_grown: bool,
    /// How many arrays and objects are open; 0 between values.
    depth: usize,
    text: Text,
    /// How many bytes a value may have.
    max_bytes: usize,
}

/// Where in a string the scanner is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// After a backslash: the next byte ends nothing.
    Escaped,
}

/// Why the stream can't be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a message may have at most {MAX_MESSAGE_BYTES} bytes")]
    TooLarge,
    #[error("a message may be nested at most {MAX_NESTING} deep")]
    TooDeep,
    #[error("a request begins with `{{` or `[`, not with byte {0:#04x}")]
    Garbage(u8),
}

impl Framer {
    pub(crate) fn new() -> Self {
        Self::up_to(MAX_MESSAGE_BYTES)
    }

    /// One whose values have at most so many bytes.
    pub(crate) fn up_to(max_bytes: usize) -> Self {
        let buffer = BytesMut::with_capacity(READ_BYTES);
        Self { buffer, scanned: 0, has_grown: false, depth: 0, text: Text::Outside, max_bytes }
    }

    /// Makes room for new bytes. A large message's room is not kept for the small ones that follow.
    pub(crate) fn make_room(&mut self) {
        if self.buffer.is_empty() && std::mem::take(&mut self.has_grown) {
            self.buffer = BytesMut::with_capacity(READ_BYTES);
        } else {
            self.has_grown |= self.buffer.len() > READ_BYTES;
            // What was read from and let go of is used again.
            self.buffer.reserve(READ_BYTES);
        }
    }

    /// Where new bytes are put; afterwards [`next`](Self::next) is asked until it has no more.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether a value has begun and not ended.
    pub(crate) fn is_within_value(&self) -> bool {
        self.depth > 0
    }

    /// The next whole value, if all of it has come.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.depth == 0 {
            self.skip_space();
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'{' | b'[') => {}
                Some(&other) => return Err(FrameError::Garbage(other)),
            }
        }
        loop {
            if self.text == Text::Inside {
                self.skip_text();
            }
            let Some(&byte) = self.buffer.get(self.scanned) else { return Ok(None) };
            // Before the byte is looked at, so that no value may be larger, in whatever pieces it comes.
            if self.scanned == self.max_bytes {
                return Err(FrameError::TooLarge);
            }
            self.scanned += 1;
            match (self.text, byte) {
                (Text::Escaped, _) | (Text::Outside, b'"') => self.text = Text::Inside,
                (Text::Inside, b'\\') => self.text = Text::Escaped,
                (Text::Inside, b'"') => self.text = Text::Outside,
                (Text::Outside, b'{' | b'[') if self.depth == MAX_NESTING => return Err(FrameError::TooDeep),
                (Text::Outside, b'{' | b'[') => self.depth += 1,
                (Text::Outside, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let length = std::mem::take(&mut self.scanned);
                        return Ok(Some(self.buffer.split_to(length).freeze()));
                    }
                }
                (Text::Inside | Text::Outside, _) => {}
            }
        }
    }

    /// Goes on to what may end a string. Most of a large message is in one: a plugin.
    fn skip_text(&mut self) {
        let text = &self.buffer[self.scanned..self.buffer.len().min(self.max_bytes)];
        self.scanned += memchr2(b'"', b'\\', text).unwrap_or(text.len());
    }

    fn skip_space(&mut self) {
        let space = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.buffer.advance(space);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(framer: &mut Framer) -> Vec<Bytes> {
        std::iter::from_fn(|| framer.next().expect("the stream is well formed")).collect()
    }

    /// Strings with every trap: escaped quotes, escaped backslashes, brackets, escapes at the end, nesting, white space.
    const VALUES: [&str; 8] = [
        "{}",
        "[]",
        r#"{"a":"}"}"#,
        r#"["\"]","\\"]"#,
        r#"{"a":{"b":[{},[[]],"{["]}}"#,
        r#"{"é":"\u007d","\\\"":1}"#,
        "[1, 2,\n3 ]",
        r#"{"jsonrpc":"2.0","id":1,"method":"TaskUnit.Add","params":["x"]}"#,
    ];

    #[test]
    fn values_are_the_same_wherever_the_stream_is_split() {
        let stream = VALUES.join(" \r\n\t");
        for at in 0..=stream.len() {
            let mut framer = Framer::new();
            let mut found = Vec::new();
            for piece in [&stream.as_bytes()[..at], &stream.as_bytes()[at..]] {
                framer.buffer().extend_from_slice(piece);
                found.extend(frames(&mut framer));
            }
            assert_eq!(found, VALUES, "split at {at}");
            assert!(!framer.is_within_value());
        }
    }

    #[test]
    fn values_are_the_same_byte_by_byte_and_without_space_between() {
        let mut framer = Framer::new();
        let mut found = Vec::new();
        for byte in VALUES.concat().bytes() {
            framer.buffer().extend_from_slice(&[byte]);
            found.extend(frames(&mut framer));
        }
        assert_eq!(found, VALUES);
    }

    #[test]
    fn a_value_ends_where_the_parser_says() {
        // Every string of brackets, quotes and escapes that serde_json reads as one value is framed as exactly that.
        let alphabet = [b'[', b']', b'{', b'}', b'"', b'\\', b',', b'1'];
        let mut checked = 0;
        for number in 0..alphabet.len().pow(6) {
            let text: Vec<u8> = (0..6).map(|at| alphabet[number / alphabet.len().pow(at) % alphabet.len()]).collect();
            let is_value = serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|value| !value.is_number());
            if is_value && matches!(text[0], b'[' | b'{') {
                checked += 1;
                let mut framer = Framer::new();
                framer.buffer().extend_from_slice(&text);
                assert_eq!(framer.next(), Ok(Some(Bytes::from(text))));
            }
        }
        assert!(checked > 10, "{checked}");
    }

    #[test]
    fn a_value_that_is_nested_too_deep_is_refused_where_it_gets_too_deep() {
        let mut framer = Framer::new();
        framer.buffer().extend_from_slice("[".repeat(MAX_NESTING).as_bytes());
        assert_eq!(framer.next(), Ok(None));
        framer.buffer().extend_from_slice(b"[");
        assert_eq!(framer.next(), Err(FrameError::TooDeep));
    }

    #[test]
    fn a_value_of_the_largest_size_passes_and_one_byte_more_does_not() {
        let value = |bytes: usize| format!("[\"{}\"]", "x".repeat(bytes - 4));
        let mut framer = Framer::new();
        framer.buffer().extend_from_slice(value(MAX_MESSAGE_BYTES).as_bytes());
        assert_eq!(framer.next().expect("it fits").map(|frame| frame.len()), Some(MAX_MESSAGE_BYTES));
        framer.buffer().extend_from_slice(value(MAX_MESSAGE_BYTES + 1).as_bytes());
        assert_eq!(framer.next(), Err(FrameError::TooLarge));
    }

    #[test]
    fn the_room_of_a_large_value_is_let_go_and_that_of_small_ones_is_used_again() {
        let mut framer = Framer::new();
        let large = format!("[\"{}\"]", "x".repeat(10 * READ_BYTES));
        for piece in large.as_bytes().chunks(READ_BYTES) {
            framer.buffer().extend_from_slice(piece);
            frames(&mut framer);
            framer.make_room();
        }
        assert!(framer.buffer.capacity() < 2 * READ_BYTES, "{}", framer.buffer.capacity());

        let room = framer.buffer.as_ptr();
        for _ in 0..100 {
            framer.buffer().extend_from_slice(&[b' '; READ_BYTES / 2]);
            framer.buffer().extend_from_slice(b"{}");
            frames(&mut framer);
            framer.make_room();
            assert_eq!(framer.buffer.as_ptr(), room);
        }
    }

    #[test]
    fn anything_but_an_object_or_an_array_is_garbage() {
        for text in ["GET / HTTP/1.1", "\"x\"", "1", "}", "\u{feff}{}", "\0"] {
            let mut framer = Framer::new();
            framer.buffer().extend_from_slice(text.as_bytes());
            assert_eq!(framer.next(), Err(FrameError::Garbage(text.as_bytes()[0])), "{text}");
        }
    }
}

//! What is kept of a body while it goes by: its beginning, its size, and which texts were in it.

/// Reads a body of any size in little memory.
pub(crate) struct Digest {
    pub(crate) bytes: u64,
    /// The beginning of the body, at most `max_kept_bytes`.
    pub(crate) beginning: Vec<u8>,
    max_kept_bytes: usize,
    sought: Vec<Sought>,
}

/// A text that is looked for.
struct Sought {
    text: String,
    /// The end of what went by: as much as may be the beginning of the text.
    tail: Vec<u8>,
    is_found: bool,
}

impl Digest {
    pub(crate) fn new(max_kept_bytes: usize, texts: &[String]) -> Self {
        let sought =
            texts.iter().map(|text| Sought { text: text.clone(), tail: Vec::new(), is_found: false }).collect();
        Self { bytes: 0, beginning: Vec::new(), max_kept_bytes, sought }
    }

    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        let room = self.max_kept_bytes - self.beginning.len();
        self.beginning.extend_from_slice(&piece[..room.min(piece.len())]);
        self.sought.iter_mut().for_each(|sought| sought.add(piece));
    }

    /// The first text that did not go by.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.sought.iter().find(|sought| !sought.is_found).map(|sought| sought.text.as_str())
    }
}

impl Sought {
    fn add(&mut self, piece: &[u8]) {
        if self.is_found {
            return;
        }
        self.tail.extend_from_slice(piece);
        self.is_found = self.tail.windows(self.text.len()).any(|window| window == self.text.as_bytes());
        self.tail.drain(..self.tail.len().saturating_sub(self.text.len() - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_the_pieces_break() {
        for break_at in 0..=12 {
            let mut digest = Digest::new(0, &["needle".to_owned()]);
            let body = b"a needneedle";
            digest.add(&body[..break_at]);
            digest.add(&body[break_at..]);
            assert_eq!(digest.missing(), None, "{break_at}");
        }
        let mut digest = Digest::new(0, &["a".to_owned(), "needle".to_owned()]);
        b"a needl".iter().for_each(|&byte| digest.add(&[byte]));
        assert_eq!(digest.missing(), Some("needle"));
        digest.add(b"e");
        assert_eq!(digest.missing(), None);
    }

    #[test]
    fn only_the_beginning_is_kept() {
        let mut digest = Digest::new(5, &[]);
        for piece in ["abc", "def", "ghi"] {
            digest.add(piece.as_bytes());
        }
        assert_eq!((digest.bytes, digest.beginning.as_slice()), (9, &b"abcde"[..]));
    }
}

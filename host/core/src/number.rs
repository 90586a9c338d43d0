//! Numbers in few bytes: LEB128, seven bits a byte, the lowest first.

/// The most bytes that a number takes.
pub(crate) const MAX_NUMBER_BYTES: usize = 10;

/// Appends a number.
pub(crate) fn put_number(data: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        data.push(number as u8 | 0x80);
        number >>= 7;
    }
    data.push(number as u8);
}

/// The number at the beginning of `data`, and what follows it; `None` if there is none.
pub(crate) fn take_number(data: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in data.iter().take(MAX_NUMBER_BYTES).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &data[at + 1..]));
        }
    }
    None
}

//! How a task's state is encoded: postcard, with a version beside it.

use taskhost_core::ports::UnitState;

/// The version of the encoding, which has no names of members in it: any change of `UnitState` or of what is in it needs
/// another number here, and a branch in [`decode`] for the old one.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn encode(state: &UnitState) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(state).map_err(|error| error.to_string())
}

pub(crate) fn decode(format: u32, bytes: &[u8]) -> Result<UnitState, String> {
    if format != FORMAT {
        return Err(format!("it has format {format}, and this binary knows format {FORMAT}"));
    }
    match postcard::take_from_bytes(bytes) {
        Ok((state, [])) => Ok(state),
        Ok((_, rest)) => Err(format!("it has {} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use taskhost_core::outcome::{Counts, Outcome, Reason, RunMore, RunRecord};
    use taskhost_core::plugin::Sha256;
    use taskhost_core::time::Time;

    use super::*;

    fn state() -> UnitState {
        let mut counts = Counts::default();
        counts.add(Outcome::Success, 300);
        counts.add(Outcome::Skipped, 1);
        let plain = RunRecord {
            due: Time(1_000_000_000),
            reason: Reason::Schedule,
            outcome: Outcome::Success,
            attempts: 1,
            revision: 2,
            lateness_us: Some(7),
            took_us: 8,
            more: None,
        };
        let more = RunMore { detail: Some("d".into()), result: None, exit_code: Some(-1), further: 5 };
        let failed =
            RunRecord { outcome: Outcome::Error, lateness_us: None, more: Some(Box::new(more)), ..plain.clone() };
        UnitState {
            counts,
            last_runs: vec![plain, failed],
            last_success: Some(Time(-1)),
            plugins: vec![(1, Sha256([0xab; 32]))],
            log_seq: 9,
            log_lost: 10,
        }
    }

    /// Bytes that were written by format 1. If this fails, `UnitState` has another shape than when the format got its
    /// number, and stored states would be misread: see [`FORMAT`].
    #[test]
    fn states_of_format_1_are_still_read() {
        let hex: String = encode(&state()).expect("encodes").iter().map(|byte| format!("{byte:02x}")).collect();
        let sha256 = "6162".repeat(32);
        assert_eq!(
            hex,
            format!(
                "ac020000000000000000010280a8d6b907000001020107080080a8d6b90700010102000801010164000101050101010140{sha256}090a"
            )
        );
        assert_eq!(decode(1, &encode(&state()).expect("encodes")), Ok(state()));
    }

    #[test]
    fn what_is_no_state_is_an_error() {
        let bytes = encode(&state()).expect("encodes");
        assert!(decode(2, &bytes).is_err());
        assert!(decode(1, &bytes[..bytes.len() - 1]).is_err());
        assert!(decode(1, &[&bytes[..], &[0]].concat()).is_err());
        assert!(decode(1, &[]).is_err());
    }
}

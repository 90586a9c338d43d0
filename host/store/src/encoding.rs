//! How states, records and open runs are encoded in `history.db`: postcard, with a version beside it.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the encoding, which has no names of members in it: any change of `UnitState`, `RunRecord`, `OpenRun` or of
/// what is in them needs another number here, and a branch in [`decode`] for the old one.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(value).map_err(|error| error.to_string())
}

pub(crate) fn decode<T: DeserializeOwned>(format: u32, bytes: &[u8]) -> Result<T, String> {
    if format != FORMAT {
        return Err(format!("it has format {format}, and this binary knows format {FORMAT}"));
    }
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("it has {} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use taskhost_core::name::TaskName;
    use taskhost_core::outcome::{Counts, Outcome, Reason, RunId, RunKey, RunMore, RunRecord, Span, Trigger};
    use taskhost_core::plugin::Sha256;
    use taskhost_core::ports::{Backlog, OpenRun, Progress, UnitState};
    use taskhost_core::time::Time;

    use super::*;

    fn trigger() -> Box<Trigger> {
        let run_id = RunId { task: 11, key: RunKey::of(Time(12)) };
        Box::new(Trigger { task: TaskName::new("t").expect("a name"), run_id, outcome: Outcome::Abandoned })
    }

    fn record() -> RunRecord {
        RunRecord {
            key: RunKey::of(Time(1_000_000_000)),
            reason: Reason::Schedule,
            outcome: Outcome::Success,
            attempts: 1,
            revision: 2,
            lateness_us: Some(7),
            took_us: 8,
            span: None,
            more: None,
        }
    }

    fn grown() -> RunRecord {
        let span = Span { first_due: Time(-1), times: 300, took_total_us: 4, took_max_us: 5, lateness_max_us: 6 };
        RunRecord { span: Some(Box::new(span)), ..record() }
    }

    fn failed() -> RunRecord {
        let more = RunMore { detail: Some("d".into()), result: None, exit_code: Some(-1), trigger: Some(trigger()) };
        RunRecord {
            key: RunKey { due: Time(2), backfill: 3 },
            reason: Reason::Triggered,
            outcome: Outcome::Error,
            lateness_us: None,
            more: Some(Box::new(more)),
            ..record()
        }
    }

    fn queued() -> OpenRun {
        let key = RunKey::of(Time(13));
        OpenRun { key, reason: Reason::Triggered, trigger: Some(trigger()), revision: 14, progress: Progress::Queued }
    }

    fn started() -> OpenRun {
        OpenRun { reason: Reason::Manual, trigger: None, progress: Progress::Started { attempt: 15 }, ..queued() }
    }

    fn retrying() -> OpenRun {
        let progress =
            Progress::Retrying { attempt: 16, outcome: Outcome::Trapped, detail: Some("t".into()), at: Time(17) };
        OpenRun { progress, ..started() }
    }

    fn state() -> UnitState {
        let mut counts = Counts::default();
        counts.add(Outcome::Success, 300);
        counts.add(Outcome::Skipped, 1);
        UnitState {
            counts,
            last_runs: vec![record(), failed()],
            last_success: Some(Time(-1)),
            plugins: vec![(1, Sha256([0xab; 32]))],
            log_seq: 9,
            log_lost: 10,
            accounted: Time(18),
            open: vec![retrying()],
            backlogs: vec![Backlog { reason: Reason::CatchUp, backfill: 19, due: [Time(20), Time(21)].into() }],
            rested_since: Some(Time(22)),
            scheduled_runs: 23,
            failures: 24,
            backfills: 25,
            history_lost: 26,
            journal: 0,
        }
    }

    fn hex(value: &impl Serialize) -> String {
        encode(value).expect("encodes").iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes that were written by format 1. If this fails, something has another shape than when the format got its number,
    /// and what is stored would be misread: see [`FORMAT`].
    #[test]
    fn what_format_1_wrote_is_still_read() {
        assert_eq!(hex(&record()), "80a8d6b90700000001020107080000");
        assert_eq!(hex(&grown()), "80a8d6b90700000001020107080101ac0204050600");
        assert_eq!(hex(&failed()), "040304010102000800010101640001010101740b180007");
        assert_eq!(hex(&queued()), "1a00040101740b1800070e00");
        assert_eq!(hex(&started()), "1a0001000e010f");
        assert_eq!(hex(&retrying()), "1a0001000e02100201017422");
        let (record, failed, retrying, sha256) = (hex(&record()), hex(&failed()), hex(&retrying()), "6162".repeat(32));
        assert_eq!(
            hex(&state()),
            format!(
                "ac0200000000000000000102{record}{failed}0101010140{sha256}090a2401{retrying}01021302282a012c1718191a"
            )
        );
        assert_eq!(decode(1, &encode(&state()).expect("encodes")), Ok(state()));
        assert_eq!(decode(1, &encode(&grown()).expect("encodes")), Ok(grown()));
        assert_eq!(decode(1, &encode(&queued()).expect("encodes")), Ok(queued()));
    }

    #[test]
    fn what_is_nothing_of_ours_is_an_error() {
        let bytes = encode(&state()).expect("encodes");
        let decode = |format, bytes: &[u8]| decode::<UnitState>(format, bytes);
        assert!(decode(2, &bytes).is_err());
        assert!(decode(1, &bytes[..bytes.len() - 1]).is_err());
        assert!(decode(1, &[&bytes[..], &[0]].concat()).is_err());
        assert!(decode(1, &[]).is_err());
    }
}

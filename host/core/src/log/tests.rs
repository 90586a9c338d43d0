use super::*;

fn name() -> TaskName {
    TaskName::new("a").expect("a name")
}

fn texts(lines: &[LogLine]) -> Vec<(u64, &str)> {
    lines.iter().map(|line| (line.seq, line.text.as_str())).collect()
}

fn take(log: &TaskLog) -> Vec<LogChunk> {
    let mut chunks = Vec::new();
    log.take_unwritten(false, &mut chunks);
    chunks
}

/// A log whose clock advances a microsecond with every reading, and the recorder's end of it.
fn log() -> (Arc<TaskLog>, UnwrittenLogs) {
    let ticks = AtomicU64::new(0);
    let now = move || Time(1_000 * ticks.fetch_add(1, Ordering::Relaxed).cast_signed());
    let (sink, unwritten) = LogSink::new(now, EventBus::new());
    (TaskLog::new(7, name(), 0, 0, sink), unwritten)
}

#[test]
fn lines_read_back_as_they_were_written() {
    let log = TaskLog::detached(7, name());
    log.push(Stream::Stdout, b"one", false);
    log.push(Stream::Stderr, b"\xff\x00two", true);
    log.push(Stream::Host, &[b'x'; MAX_LINE_BYTES + 1], false);
    let lines = log.tail(0, 10);
    assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((lines[0].stream, lines[0].text.as_str(), lines[0].truncated), (Stream::Stdout, "one", false));
    assert_eq!((lines[1].stream, lines[1].text.as_str(), lines[1].truncated), (Stream::Stderr, "\u{fffd}\0two", true));
    assert_eq!((lines[2].stream, lines[2].text.len(), lines[2].truncated), (Stream::Host, MAX_LINE_BYTES, true));
    assert!(lines[0].time <= lines[2].time);
}

#[test]
fn a_line_keeps_its_level_and_plain_output_counts_as_info() {
    let log = TaskLog::detached(7, name());
    LEVELS.iter().for_each(|level| log.push(Stream::Log(*level), level.as_str().as_bytes(), *level > Level::Info));
    log.push(Stream::Stdout, b"out", false);
    log.push(Stream::Host, b"the host", false);
    let lines = log.tail(0, 10);
    for (line, level) in lines.iter().zip(LEVELS) {
        assert_eq!((line.stream, line.truncated), (Stream::Log(level), level > Level::Info));
        assert_eq!(level.as_str().parse(), Ok(level));
    }
    let from =
        |level, limit| texts(&log.tail_from(level, 0, limit)).into_iter().map(|(seq, _)| seq).collect::<Vec<_>>();
    assert_eq!(from(Level::Info, 10), [3, 4, 5, 6, 7, 8]);
    assert_eq!(
        from(Level::Warn, 2),
        [6, 8],
        "the newest two of those that match, not those that match of the newest two"
    );
    assert_eq!("loud".parse::<Level>(), Err(NotALevel));
}

#[test]
fn lines_of_hosts_without_levels_read_as_they_did() {
    let chunk =
        LogChunk { lines: 3, data: b"\0\0\x01a\0\x05\x01b\0\x02\x01c".to_vec(), ..LogChunk::new(7, 1, Time(0)) };
    let streams: Vec<_> = chunk.lines().map(|line| (line.stream, line.truncated)).collect();
    assert_eq!(streams, [(Stream::Stdout, false), (Stream::Stderr, true), (Stream::Host, false)]);
}

#[test]
fn readers_get_the_newest_lines_oldest_first() {
    let (log, _unwritten) = log();
    (1..=5).for_each(|n| log.push(Stream::Stdout, format!("{n}").as_bytes(), false));
    assert_eq!(texts(&log.tail(0, 2)), [(4, "4"), (5, "5")]);
    assert_eq!(texts(&log.tail(3, 10)), [(4, "4"), (5, "5")]);
    assert!(log.tail(0, 0).is_empty());
}

#[test]
fn a_log_is_queued_once_however_many_lines_it_gets() {
    let (log, mut unwritten) = log();
    log.push(Stream::Stdout, b"1", false);
    log.push(Stream::Stdout, b"2", false);
    let queued = unwritten.waiting.try_recv().expect("queued");
    assert!(unwritten.waiting.try_recv().is_err(), "queued once");
    assert_eq!(take(&queued).len(), 1);
    log.push(Stream::Stdout, b"3", false);
    assert!(unwritten.waiting.try_recv().is_ok(), "queued again after it was taken");
}

#[test]
fn lines_on_their_way_to_the_store_are_still_read_and_come_back_if_refused() {
    let (log, _unwritten) = log();
    log.push(Stream::Stdout, b"1", false);
    let taken = take(&log);
    log.push(Stream::Stdout, b"2", false);
    assert_eq!(texts(&log.tail(0, 10)), [(1, "1"), (2, "2")]);
    log.refused();
    assert_eq!(texts(&log.tail(0, 10)), [(1, "1"), (2, "2")]);
    let again = take(&log);
    assert_eq!(again[0], taken[0]);
    log.written();
    assert!(log.tail(0, 10).is_empty(), "what the store has is read from the store");
}

#[test]
fn a_store_that_takes_nothing_costs_bounded_memory_and_lost_lines_are_counted() {
    let (log, _unwritten) = log();
    let line = [b'x'; 1000];
    (0..1000).for_each(|_| log.push(Stream::Stdout, &line, false));
    let (seq, lost) = log.position();
    assert_eq!(seq, 1000);
    assert!(log.lock().bytes <= MAX_WAITING_BYTES_PER_TASK);
    assert_eq!(log.tail(0, 2000).len() as u64, 1000 - lost);
    assert_eq!(log.sink.lost_lines(), lost);
    assert!(lost > 0);
}

#[test]
fn what_waits_is_counted_with_that_of_all_logs_but_for_a_step_of_each() {
    let (log, _unwritten) = log();
    let other = TaskLog::new(8, name(), 0, 0, Arc::clone(&log.sink));
    let counted = || log.sink.waiting_bytes.load(Ordering::Relaxed);
    for number in 0..500 {
        [&log, &other][number % 2].push(Stream::Stdout, &vec![b'x'; number], false);
        let waits = log.lock().bytes + other.lock().bytes;
        assert!((counted()..counted() + 2 * COUNTED_BYTES).contains(&waits), "{waits} of which {}", counted());
    }
    take(&log);
    assert!(counted() > 0, "the other waits still");
    log.refused();
    let waits = log.lock().bytes + other.lock().bytes;
    assert!((counted()..counted() + 2 * COUNTED_BYTES).contains(&waits), "what is refused waits again");
    [&log, &other].into_iter().for_each(|log| drop(take(log)));
    assert_eq!(counted(), 0);
}

#[test]
fn a_deleted_tasks_log_frees_what_it_held() {
    let (log, _unwritten) = log();
    log.push(Stream::Stdout, &[b'1'; COUNTED_BYTES], false);
    log.close();
    log.push(Stream::Stdout, b"2", false);
    assert!(log.tail(0, 10).is_empty());
    assert_eq!(log.sink.waiting_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn lines_are_published_only_while_somebody_wants_them() {
    let bus = EventBus::new();
    let log = TaskLog::detached_on(7, name(), bus.clone(), Time::default);
    let mut runs_only = bus.subscribe(false);
    log.push(Stream::Stdout, b"1", false);
    let mut logs = bus.subscribe(true);
    log.push(Stream::Stdout, b"2", false);
    for stream in [&mut runs_only, &mut logs] {
        let crate::events::Next::Event(event) = stream.next().await else { panic!("an event") };
        assert!(matches!(&event.kind, EventKind::Log { line, .. } if line.text == "2"), "{event:?}");
    }
}

#[test]
fn a_damaged_chunk_gives_the_lines_before_the_damage() {
    let (log, _unwritten) = log();
    log.push(Stream::Stdout, b"one", false);
    log.push(Stream::Stdout, b"two", false);
    let mut chunk = take(&log).remove(0);
    chunk.data.truncate(chunk.data.len() - 1);
    assert_eq!(texts(&newest_lines([&chunk], Level::Trace, 0, 10)), [(1, "one")]);
}

#[test]
fn the_hosts_words_large_chunks_and_failed_runs_are_in_a_hurry_and_others_are_not() {
    let hurried = |write: &dyn Fn(&Arc<TaskLog>)| {
        let (log, mut unwritten) = log();
        log.push(Stream::Stdout, b"1", false);
        assert!(unwritten.hurried.try_recv().is_err());
        write(&log);
        let hurried = unwritten.hurried.try_recv().is_ok();
        assert!(unwritten.hurried.try_recv().is_err(), "once");
        assert!(unwritten.waiting.try_recv().is_ok(), "and among all");
        hurried
    };
    assert!(!hurried(&|log| log.push(Stream::Stderr, b"2", false)));
    assert!(hurried(&|log| (0..2).for_each(|_| log.push(Stream::Host, b"2", false))));
    assert!(hurried(&|log| log.push(Stream::Stdout, &[b'x'; LARGE_CHUNK_BYTES], false)));
    assert!(hurried(&|log| log.mark_failed()));
}

#[test]
fn a_log_that_was_in_a_hurry_has_nothing_left_when_its_turn_comes() {
    let (log, _unwritten) = log();
    log.push(Stream::Host, b"1", false);
    let mut chunks = Vec::new();
    log.take_unwritten(true, &mut chunks);
    assert_eq!((chunks.len(), take(&log).len()), (1, 0));
    log.push(Stream::Stdout, b"2", false);
    assert_eq!(take(&log).len(), 1);
    log.refused();
    assert_eq!(texts(&log.tail(0, 10)), [(1, "1"), (2, "2")], "both were on their way");
}

#[test]
fn chunks_that_follow_each_other_become_one_with_the_same_lines() {
    let (log, _unwritten) = log();
    log.push(Stream::Stdout, b"one", false);
    log.push(Stream::Log(Level::Error), b"", true);
    let mut chunk = take(&log).remove(0);
    log.push(Stream::Stderr, &[b'x'; 300], false);
    log.push(Stream::Host, b"four", false);
    let lines = log.tail(0, 10);
    let next = take(&log).remove(0);
    assert!(chunk.append(&next));
    assert_eq!((chunk.lines, chunk.last_time), (4, next.last_time));
    let merged: Vec<_> = chunk.lines().collect();
    assert_eq!(merged.iter().map(|line| line.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(merged, lines);
    let before = chunk.clone();
    let later = LogChunk { first_seq: 5, first_time: next.last_time, ..next.clone() };
    let gap = LogChunk { first_seq: 6, ..later.clone() };
    let failed = LogChunk { failed: true, ..later.clone() };
    let large = LogChunk { data: vec![0; CHUNK_BYTES], ..later.clone() };
    let earlier = LogChunk { first_time: Time(-1), ..later.clone() };
    let damaged = LogChunk { data: later.data[..later.data.len() - 1].to_vec(), ..later.clone() };
    for other in [gap, failed, large, earlier, damaged] {
        assert!(!chunk.append(&other));
        assert_eq!(chunk, before);
    }
    assert!(chunk.append(&later));
}

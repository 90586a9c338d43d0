//! The floor writes what a store writes.

use std::time::Duration;

use super::*;
use crate::floor::Floor;

#[tokio::test]
async fn the_floor_leaves_what_a_store_has_of_the_same_tasks() {
    let dir = temp_dir();
    let added: Vec<_> = (0..5).map(|id| definition(id, &format!("task-{id}"))).collect();
    let mut floor = Floor::open(dir.path()).expect("an empty directory");
    let took = floor.add(&added, Actor::Uid(1000), 2).expect("written");
    assert!(took > Duration::ZERO);
    drop(floor);

    let store = open(dir.path());
    assert_eq!(load(&store).tasks.into_iter().map(|task| task.definition).collect::<Vec<_>>(), added);
    let revisions = store.revisions(3, 10).await.expect("readable");
    assert_eq!(revisions.len(), 1);
    assert_eq!((revisions[0].by, revisions[0].spec.as_ref()), (Actor::Uid(1000), Some(&added[3].spec)));
    close(store).await;
}

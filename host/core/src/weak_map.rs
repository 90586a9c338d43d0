//! What others hold, found by a key for as long as they do.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

/// How many places of those that nobody holds any more are kept, beyond as many as are held.
const MAX_UNUSED: usize = 1024;

/// Finds values by their keys while somebody else holds them, and keeps none of them alive.
#[derive(Debug)]
pub struct WeakMap<K, T> {
    /// Those that are held, and what is left of some that were.
    known: HashMap<K, Weak<T>>,
    /// How many there may be before what is left of others is cleared away.
    most: usize,
}

impl<K, T> Default for WeakMap<K, T> {
    fn default() -> Self {
        Self { known: HashMap::new(), most: 0 }
    }
}

impl<K: Eq + Hash, T> WeakMap<K, T> {
    /// The value of this key, if somebody holds it.
    pub fn get(&self, key: &K) -> Option<Arc<T>> {
        self.known.get(key).and_then(Weak::upgrade)
    }

    /// From now on the value of this key, in place of what it was.
    pub fn insert(&mut self, key: K, value: &Arc<T>) {
        if self.known.len() >= self.most {
            self.known.retain(|_, value| value.strong_count() > 0);
            self.most = 2 * self.known.len() + MAX_UNUSED;
        }
        self.known.insert(key, Arc::downgrade(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_while_somebody_holds_it() {
        let mut map = WeakMap::default();
        let value = Arc::new(7);
        map.insert("a", &value);
        assert!(map.get(&"a").is_some_and(|found| Arc::ptr_eq(&found, &value)));
        drop(value);
        assert_eq!(map.get(&"a"), None);
    }

    #[test]
    fn little_is_left_of_values_that_nobody_holds() {
        let mut map = WeakMap::default();
        let kept = Arc::new(0);
        map.insert(0, &kept);
        (1..=5 * MAX_UNUSED).for_each(|key| map.insert(key, &Arc::new(0)));
        assert!(map.known.len() <= 2 + MAX_UNUSED, "{}", map.known.len());
        assert!(map.get(&0).is_some());
    }
}

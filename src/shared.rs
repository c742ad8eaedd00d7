//! Stores equal values only once, for the packed weights of several sessions.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use twox_hash::XxHash3_128;

/// Identifies bytes: 128 bits of XXH3 with a secret of this process, and the length. The probability of an accidental collision among 2^32
/// weights is 2^-65. On platforms with random numbers, the secret prevents files that collide intentionally.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u128, usize);

impl Key {
    pub(crate) fn of(bytes: &[u8]) -> Key {
        static SECRET: LazyLock<[u8; 192]> = LazyLock::new(|| {
            let random = RandomState::new();
            let mut secret = [0; 192];
            for (i, part) in secret.chunks_exact_mut(8).enumerate() {
                part.copy_from_slice(&random.hash_one(i).to_le_bytes());
            }
            secret
        });
        let hash = XxHash3_128::oneshot_with_secret(&*SECRET, bytes);
        Key(hash.expect("a secret of more than 136 bytes"), bytes.len())
    }
}

/// Values by key, kept while they are in use elsewhere.
#[derive(Debug)]
pub(crate) struct Shared<T>(Mutex<HashMap<Key, Weak<T>>>);

impl<T> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared(Mutex::default())
    }
}

impl<T> Shared<T> {
    /// The value of a key, if it is in use.
    pub(crate) fn get(&self, key: Key) -> Option<Arc<T>> {
        self.held().get(&key).and_then(Weak::upgrade)
    }

    /// Shares a complete value. If another thread has shared one under this key meanwhile, returns that one.
    pub(crate) fn insert(&self, key: Key, value: T) -> Arc<T> {
        let mut held = self.held();
        if let Some(there) = held.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        held.retain(|_, value| value.strong_count() > 0);
        let value = Arc::new(value);
        held.insert(key, Arc::downgrade(&value));
        value
    }

    /// All values in use.
    pub(crate) fn values(&self) -> Vec<Arc<T>> {
        self.held().values().filter_map(Weak::upgrade).collect()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_as_long_as_someone_has_it() {
        let shared = Shared::default();
        let [one, two] = [&[1u8, 2][..], &[1, 2, 0]].map(Key::of);
        assert_ne!(one, two);
        assert_eq!(one, Key::of(&[1, 2]));
        let first = shared.insert(one, "first");
        assert_eq!(*shared.insert(one, "second"), "first");
        assert!(Arc::ptr_eq(&first, &shared.get(one).unwrap()));
        assert!(shared.get(two).is_none());
        drop(first);
        assert!(shared.get(one).is_none());
        drop(shared.insert(two, "third"));
        assert_eq!(shared.held().len(), 1, "what nobody has is forgotten");
    }
}

//! What the first-party plugins share: how they read arguments and word what they say. No part of the SDK's word.

pub mod arguments;
pub mod words;

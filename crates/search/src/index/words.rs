//! Running text as the library cuts it into words: as the plain evaluator does, each behind the attribute's name.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::schema::BETWEEN;
use crate::words;

/// Takes apart what stands behind an attribute's name. Word by word, since a text may have megabytes.
#[derive(Clone, Debug)]
pub(super) struct RunningText;

impl RunningText {
    /// What the library knows it by.
    pub(super) const NAME: &'static str = "running text";
}

pub(super) struct Words<'a> {
    attribute: &'a str,
    words: Box<dyn Iterator<Item = String> + 'a>,
    token: Token,
    next: usize,
}

impl Tokenizer for RunningText {
    type TokenStream<'a> = Words<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Words<'a> {
        let (attribute, text) = text.split_once(BETWEEN).unwrap_or_default();
        Words { attribute, words: Box::new(words(text)), token: Token::default(), next: 0 }
    }
}

impl TokenStream for Words<'_> {
    fn advance(&mut self) -> bool {
        let Some(word) = self.words.next() else { return false };
        self.token.position = self.next;
        self.next += 1;
        self.token.text.clear();
        self.token.text.push_str(self.attribute);
        self.token.text.push(BETWEEN);
        self.token.text.push_str(&word);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

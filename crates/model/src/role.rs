//! Roles: dotted names, where a role grants everything below it (contract README §4).

use std::fmt;
use std::str::FromStr;

/// A role name a token holds: `org.permission.conversation.read`, `org.user`, `org` …
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(String);

impl Role {
    /// The dotted name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether holding this role is enough where `needed` is asked for.
    pub fn grants(&self, needed: &str) -> bool {
        grants(&self.0, needed)
    }
}

/// Whether `held` is `needed` or one of its dotted prefixes: `org.user` grants `org.user.conversation.read`.
pub fn grants(held: &str, needed: &str) -> bool {
    needed.strip_prefix(held).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl FromStr for Role {
    type Err = String;

    /// Reads a role name: `org`, or `org.` and further lower-case words of letters, digits, `_`, `-` and `*`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split('.');
        let well_formed = words.next() == Some("org")
            && text.len() <= 128
            && words.all(|word| {
                !word.is_empty()
                    && word
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'*'))
            });
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a role; roles look like org.permission.conversation.read or org.user"))
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_grants_itself_and_what_is_below_it() {
        for held in ["org", "org.user", "org.user.conversation", "org.user.conversation.read"] {
            assert!(grants(held, "org.user.conversation.read"), "{held}");
        }
        for held in [
            "org.use",
            "org.admin",
            "org.user.conversation.write",
            "org.user.conversation.read.all",
            "org.permission",
            "",
        ] {
            assert!(!grants(held, "org.user.conversation.read"), "{held}");
        }
    }

    #[test]
    fn only_role_names_are_roles() {
        assert!("org.permission.kobject.kobject_*.read".parse::<Role>().is_ok());
        for text in ["", "admin", "org.", "org..read", "org.User", "org user"] {
            assert!(text.parse::<Role>().is_err(), "{text}");
        }
    }
}

//! What the other records refer to, and what an org keeps beside its customers (contract `resources.md` §5–8). A kind is
//! one entry: see [`entry`].

pub(crate) mod entry;
mod manage;
mod references;
mod role_groups;
mod tags;
mod teams;
mod users;

use konverse_model::Kind;

pub use entry::{Changeable, Creatable, Deletable, Entry, NoFilter};
pub(crate) use entry::{Desk, Imported};
pub use manage::Listed;
pub(crate) use manage::names_of_row;
pub(crate) use references::{Author, References};
pub use tags::TagFilter;
pub(crate) use tags::is_tag_name;
pub use teams::Membership;
pub use users::UserFilter;

/// Every kind of the directory, in the order `check` looks at them.
pub(crate) const KINDS: [Kind; 4] = [Kind::User, Kind::Team, Kind::Tag, Kind::RoleGroup];

/// Runs an expression with the attributes of a kind of the directory as a type.
macro_rules! of_kind {
    ($kind:expr, $attributes:ident => $run:expr, else $other:expr) => {
        match $kind {
            konverse_model::Kind::User => {
                type $attributes = konverse_model::resource::UserAttributes;
                $run
            }
            konverse_model::Kind::Team => {
                type $attributes = konverse_model::resource::TeamAttributes;
                $run
            }
            konverse_model::Kind::Tag => {
                type $attributes = konverse_model::resource::TagAttributes;
                $run
            }
            konverse_model::Kind::RoleGroup => {
                type $attributes = konverse_model::resource::RoleGroupAttributes;
                $run
            }
            _ => $other,
        }
    };
}
pub(crate) use of_kind;

//! What the other records refer to, and what an org keeps beside its customers (contract `resources.md` §5–8). A kind is
//! one entry: see [`entry`].

mod brands;
mod companies;
pub(crate) mod entry;
mod manage;
mod queues;
mod references;
mod role_groups;
mod searches;
mod shortcuts;
mod slas;
mod tags;
mod teams;
mod users;

use konverse_model::Kind;

pub use companies::CompanyFilter;
pub use entry::{Changeable, Creatable, Deletable, Entry, NoFilter};
pub(crate) use entry::{Desk, Imported};
pub use manage::Listed;
pub(crate) use manage::names_of_row;
pub(crate) use references::{Author, References};
pub use slas::SlaVersions;
pub use tags::TagFilter;
pub(crate) use tags::is_tag_name;
pub use teams::Membership;
pub use users::UserFilter;

/// Every kind of the directory, in the order `check` looks at them.
pub(crate) const KINDS: [Kind; 11] = [
    Kind::User,
    Kind::Team,
    Kind::Tag,
    Kind::Company,
    Kind::Shortcut,
    Kind::Brand,
    Kind::Sla,
    Kind::SlaVersion,
    Kind::Queue,
    Kind::RoleGroup,
    Kind::Search,
];

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
            konverse_model::Kind::Company => {
                type $attributes = konverse_model::resource::CompanyAttributes;
                $run
            }
            konverse_model::Kind::Shortcut => {
                type $attributes = konverse_model::resource::ShortcutAttributes;
                $run
            }
            konverse_model::Kind::Brand => {
                type $attributes = konverse_model::resource::BrandAttributes;
                $run
            }
            konverse_model::Kind::Sla => {
                type $attributes = konverse_model::resource::SlaAttributes;
                $run
            }
            konverse_model::Kind::SlaVersion => {
                type $attributes = konverse_model::resource::SlaVersionAttributes;
                $run
            }
            konverse_model::Kind::Queue => {
                type $attributes = konverse_model::resource::QueueAttributes;
                $run
            }
            konverse_model::Kind::RoleGroup => {
                type $attributes = konverse_model::resource::RoleGroupAttributes;
                $run
            }
            konverse_model::Kind::Search => {
                type $attributes = konverse_model::resource::SavedSearchAttributes;
                $run
            }
            _ => $other,
        }
    };
}
pub(crate) use of_kind;

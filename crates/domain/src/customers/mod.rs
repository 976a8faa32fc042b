//! Customers (contract `resources.md` §4).

mod create;
mod delete;
mod name;
mod update;

use konverse_model::{CustomerId, Kind};
use konverse_store::Space;

pub(crate) use name::name_customer;
pub(crate) use update::names_of;

use crate::access::permissions::ReadCustomers;
use crate::{Authorized, Domain, DomainError};

/// The kept count of an org's customers.
pub(crate) const CUSTOMERS: &str = "customers";

impl Domain {
    /// One customer, as text.
    pub async fn customer(&self, auth: &Authorized<ReadCustomers>, id: CustomerId) -> Result<String, DomainError> {
        auth.actor().shown(Kind::Customer, self.row(auth.org(), Kind::Customer, id.0).await?.doc)
    }

    /// The customer with this e-mail address, whatever its case, as text.
    pub async fn customer_by_email(
        &self,
        auth: &Authorized<ReadCustomers>,
        email: &str,
    ) -> Result<String, DomainError> {
        self.customer_by(auth, Space::CustomerEmail, email.to_lowercase(), "email", email).await
    }

    /// The customer with this phone number, as text.
    pub async fn customer_by_phone(
        &self,
        auth: &Authorized<ReadCustomers>,
        phone: &str,
    ) -> Result<String, DomainError> {
        self.customer_by(auth, Space::CustomerPhone, fold_phone(phone), "phone", phone).await
    }

    /// The customer with this external id, as text.
    pub async fn customer_by_external_id(
        &self,
        auth: &Authorized<ReadCustomers>,
        external_id: &str,
    ) -> Result<String, DomainError> {
        self.customer_by(auth, Space::CustomerExternalId, external_id.to_owned(), "externalId", external_id).await
    }

    async fn customer_by(
        &self,
        auth: &Authorized<ReadCustomers>,
        space: Space,
        value: String,
        name: &str,
        asked: &str,
    ) -> Result<String, DomainError> {
        // No name holds a NUL, and not every database would be asked for one.
        let holder = match value.contains('\0') {
            true => None,
            false => self.store.holders(auth.org(), &[(space, value)]).await?.pop().flatten(),
        };
        let missing = || DomainError::NotFound(Kind::Customer, format!("{name}={asked}"));
        let row = self.row(auth.org(), Kind::Customer, holder.ok_or_else(missing)?).await?;
        auth.actor().shown(Kind::Customer, row.doc)
    }
}

/// A phone number as it is compared: without spaces, dashes, dots and brackets.
fn fold_phone(phone: &str) -> String {
    let folded: String = phone.chars().filter(|c| !c.is_whitespace() && !"-.()".contains(*c)).collect();
    if folded.is_empty() { phone.to_owned() } else { folded }
}

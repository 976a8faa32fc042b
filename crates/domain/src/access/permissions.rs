//! What roles allow: one type each, with the roles of contract README §4.

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: [$($role:literal),*];)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl super::Permission for $name {
                const ROLES: &'static [&'static str] = &[$($role),*];
            }
        )*

        /// The roles of each permission.
        const EACH: &[&[&str]] = &[$(&[$($role),*]),*];
    };
}

permissions! {
    /// Any valid token.
    Anyone: [];
    /// Reading conversations.
    ReadConversations: ["org.permission.conversation.read", "org.user.conversation.read"];
    /// Creating conversations.
    CreateConversations: ["org.permission.conversation.create", "org.user.conversation.write"];
    /// Changing conversations.
    UpdateConversations: ["org.permission.conversation.update", "org.user.conversation.write"];
    /// Deleting conversations.
    DeleteConversations: ["org.permission.conversation.delete", "org.user.conversation.delete"];
    /// Taking tags off conversations: the documentation lists the delete permission, users expect update.
    UntagConversations: ["org.permission.conversation.delete", "org.permission.conversation.update", "org.user.conversation.write"];
    /// Reading customers.
    ReadCustomers: ["org.permission.customer.read", "org.user.customer.read"];
    /// Creating customers.
    CreateCustomers: ["org.permission.customer.create", "org.user.customer.write"];
    /// Changing customers.
    UpdateCustomers: ["org.permission.customer.update", "org.user.customer.write"];
    /// Deleting customers.
    DeleteCustomers: ["org.permission.customer.delete", "org.user.customer.delete"];
    /// Reading messages.
    ReadMessages: ["org.permission.message.read", "org.user.message.read"];
    /// Recording messages.
    CreateMessages: ["org.permission.message.create", "org.user.message.write"];
    /// Changing messages.
    UpdateMessages: ["org.permission.message.update", "org.user.message.write"];
    /// Reading attachments.
    ReadAttachments: ["org.permission.attachment.read", "org.user.attachment.read"];
    /// Reading notes.
    ReadNotes: ["org.permission.note.read", "org.user.note.read"];
    /// Creating notes.
    CreateNotes: ["org.permission.note.create", "org.user.note.write"];
    /// Creating notes inside a conversation: the documentation lists the legacy *read* role.
    CreateConversationNotes: ["org.permission.note.create", "org.user.note.read", "org.user.note.write"];
    /// Changing notes.
    UpdateNotes: ["org.permission.note.update", "org.user.note.write"];
    /// Deleting notes.
    DeleteNotes: ["org.permission.note.delete", "org.user.note.write"];
    /// Reading users.
    ReadUsers: ["org.permission.user.read", "org.user.user.read"];
    /// Creating users.
    CreateUsers: ["org.permission.user.create", "org.admin.user"];
    /// Reading teams; the specification names no legacy role, the pattern gives this one.
    ReadTeams: ["org.permission.team.read", "org.user.team.read"];
    /// Creating teams.
    CreateTeams: ["org.permission.team.create", "org.admin.team.write"];
    /// Reading tags.
    ReadTags: ["org.permission.tag.read", "org.user.tag.read"];
    /// Creating tags; the legacy role is by pattern.
    CreateTags: ["org.permission.tag.create", "org.user.tag.write"];
    /// Reading definitions of custom attributes.
    ReadMetadata: ["org.permission.metadata.read", "org.user.metadata.read", "org.admin.metadata.read"];
    /// Changing definitions of custom attributes.
    UpdateMetadata: ["org.permission.metadata.update", "org.admin.metadata.write"];
    /// Seeing sensitive attributes as they are. The documentation names no role for it: these are by pattern, so that
    /// administrators have it and who reads records does not.
    ReadSensitive: ["org.permission.sensitive_attribute.read", "org.admin.sensitive_attribute.read"];
    /// Searching, whatever is searched for.
    Search: ["org.permission.search.create", "org.permission.search.update", "org.permission.search_global.create",
        "org.permission.search_preview.create", "org.user.search.read", "org.admin.search.read"];
    /// Running saved searches: whoever may search, and who may do only this.
    RunSearches: ["org.permission.search_execution.create", "org.permission.search.create", "org.permission.search.update",
        "org.permission.search_global.create", "org.permission.search_preview.create", "org.user.search.read",
        "org.admin.search.read"];
    /// Reading saved searches; the roles of these four are by pattern. Who runs them may know which there are.
    ReadSearches: ["org.permission.search.read", "org.permission.search_execution.create", "org.user.search.read"];
    /// Saving searches.
    CreateSearches: ["org.permission.search.create", "org.user.search.write"];
    /// Changing saved searches.
    UpdateSearches: ["org.permission.search.update", "org.user.search.write"];
    /// Deleting saved searches.
    DeleteSearches: ["org.permission.search.delete", "org.user.search.write"];
    /// Changing tags; the legacy role is by pattern.
    UpdateTags: ["org.permission.tag.update", "org.user.tag.write"];
    /// Deleting tags; the legacy role is by pattern.
    DeleteTags: ["org.permission.tag.delete", "org.user.tag.delete"];
    /// Reading companies.
    ReadCompanies: ["org.permission.company.read", "org.user.company.read"];
    /// Creating companies.
    CreateCompanies: ["org.permission.company.create", "org.user.company.write"];
    /// Changing companies.
    UpdateCompanies: ["org.permission.company.update", "org.user.company.write"];
    /// Reading shortcuts; the contract names the roles for the list, the others are by pattern.
    ReadShortcuts: ["org.permission.shortcut.read", "org.user.shortcut.read"];
    /// Creating shortcuts.
    CreateShortcuts: ["org.permission.shortcut.create", "org.user.shortcut.write"];
    /// Changing shortcuts.
    UpdateShortcuts: ["org.permission.shortcut.update", "org.user.shortcut.write"];
    /// Deleting shortcuts.
    DeleteShortcuts: ["org.permission.shortcut.delete", "org.user.shortcut.delete"];
    /// Reading brands.
    ReadBrands: ["org.permission.brand.read", "org.user.brand.read", "org.admin.brand.read"];
    /// Creating brands.
    CreateBrands: ["org.permission.brand.create", "org.admin.brand.write"];
    /// Changing brands.
    UpdateBrands: ["org.permission.brand.update", "org.admin.brand.write"];
    /// Reading SLAs.
    ReadSlas: ["org.permission.sla.read", "org.user.sla.read"];
    /// Reading queues; the roles are by pattern.
    ReadQueues: ["org.permission.queue.read", "org.user.queue.read"];
    /// Reading the org's own record: "admin", says the contract.
    ReadOrgs: ["org.permission.org.read", "org.admin"];
    /// Reading klasses.
    ReadKlasses: ["org.permission.klass.read", "org.user.klass.read", "org.admin.klass.read"];
    /// Listing the custom objects of a klass: the documentation lists the klass's roles, users expect the objects'.
    ListKobjects: ["org.permission.klass.read", "org.permission.kobject.read", "org.user.klass.read", "org.admin.klass.read", "org.user.kobject.read"];
    /// Reading a custom object.
    ReadKobjects: ["org.permission.kobject.read", "org.user.kobject.read"];
    /// Changing users.
    UpdateUsers: ["org.permission.user.update", "org.admin.user"];
    /// Changing teams and their members.
    UpdateTeams: ["org.permission.team.update", "org.admin.team.write"];
    /// Deleting teams.
    DeleteTeams: ["org.permission.team.delete", "org.admin.team.write"];
    /// Reading role groups.
    ReadRoleGroups: ["org.permission.role_group.read", "org.admin.user"];
    /// Creating role groups.
    CreateRoleGroups: ["org.permission.role_group.create", "org.admin.user"];
    /// Changing role groups.
    UpdateRoleGroups: ["org.permission.role_group.update", "org.admin.user"];
    /// Deleting role groups.
    DeleteRoleGroups: ["org.permission.role_group.delete", "org.admin.user"];
    /// Listing and revoking tokens.
    ManageTokens: ["org.permission.security", "org.admin.security"];
    /// Reading one token.
    ReadTokens: ["org.permission.security", "org.admin"];
}

/// Every role something asks for, with the prefixes that grant several: what a token or a user can be given.
pub fn names() -> Vec<&'static str> {
    let prefixes = ["org", "org.admin", "org.user", "org.permission"];
    let mut names: Vec<_> = EACH.iter().copied().flatten().copied().chain(prefixes).collect();
    names.sort_unstable();
    names.dedup();
    names
}

-- Lists of conversations and messages in the order of `updatedAt`, each along an index. A customer's conversations had one
-- already, of which only the ids were not in order.

DROP INDEX conversation_by_update;
CREATE INDEX conversation_by_update ON conversation (org, customer, updated_at, id) WHERE hidden = 0;
CREATE INDEX conversation_of_org_by_update ON conversation (org, updated_at, id) WHERE hidden = 0;
CREATE INDEX message_of_org_by_update ON message (org, updated_at, id) WHERE hidden = 0;
CREATE INDEX message_of_customer_by_update ON message (org, customer, updated_at, id) WHERE hidden = 0;
CREATE INDEX message_of_conversation_by_update ON message (org, conversation, updated_at, id) WHERE hidden = 0;

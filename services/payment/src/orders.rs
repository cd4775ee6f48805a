//! A customer's own orders.

use quire_database::Database;
use quire_fault::{Rule, Violation};

use crate::error::PaymentError;
use crate::store;
use crate::store::entity::orders::Model as Order;

const DEFAULT_PAGE: i32 = 20;
const LARGEST_PAGE: i32 = 100;

pub(crate) struct Orders {
    pub(crate) database: Database,
}

/// Orders, newest first, and where the next page begins.
pub(crate) struct Page {
    pub(crate) orders: Vec<Order>,
    pub(crate) next: Option<String>,
}

impl Orders {
    /// An order of the user. Somebody else's is as unknown as one that does not exist.
    pub(crate) async fn get(&self, user_id: &str, order_id: &str) -> Result<Order, PaymentError> {
        if !is_id(order_id) {
            return Err(PaymentError::OrderNotFound);
        }
        let order = store::order(self.database.reader(), order_id).await?;
        order.filter(|order| order.user_id == user_id).ok_or(PaymentError::OrderNotFound)
    }

    /// At most `page_size` orders, 0 for the default; more than 100 are never answered. `token` is the id of the
    /// last order of the page before.
    pub(crate) async fn list(
        &self,
        user_id: &str,
        page_size: i32,
        token: &str,
    ) -> Result<Page, PaymentError> {
        let mut violations: Vec<Violation> =
            Violation::range("page_size", page_size.into(), 0, i32::MAX.into()).into_iter().collect();
        if !token.is_empty() && !is_id(token) {
            let rule = Rule::Value("the page token is not one of ours".to_owned());
            violations.push(Violation::new("page_token", rule));
        }
        if !violations.is_empty() {
            return Err(PaymentError::Invalid(violations));
        }
        let size = if page_size == 0 { DEFAULT_PAGE } else { page_size.min(LARGEST_PAGE) };
        let size = usize::try_from(size).unwrap_or_default();
        let before = Some(token).filter(|token| !token.is_empty());
        // One more than asked for tells whether there is a next page.
        let limit = u64::try_from(size + 1).unwrap_or(u64::MAX);
        let mut orders = store::orders_of_user(self.database.reader(), user_id, before, limit).await?;
        let more = orders.len() > size;
        orders.truncate(size);
        let next = orders.last().filter(|_| more).map(|order| order.id.clone());
        Ok(Page { orders, next })
    }
}

/// Whether a text is written like the ids given out here. PostgreSQL refuses some others, such as U+0000, instead of
/// not finding them.
fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

//! A customer's own orders.

use std::time::Duration;

use quire_database::Database;
use quire_fault::{Rule, Violation};

use crate::checkout::Checkout;
use crate::error::PaymentError;
use crate::store::entity::orders::{Model as Order, OrderStatus};
use crate::{store, sweep};

const DEFAULT_PAGE: i32 = 20;
const LARGEST_PAGE: i32 = 100;

/// An open order that nobody has asked the provider about for so long is asked about when somebody reads it: the customer
/// who comes back from paying must not wait for a webhook that was lost.
const STALE: Duration = Duration::from_secs(15);
/// A reader does not wait longer for the provider.
const ASK_DEADLINE: Duration = Duration::from_secs(2);

pub(crate) struct Orders {
    pub(crate) database: Database,
    pub(crate) checkout: Checkout,
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
        let order = order.filter(|order| order.user_id == user_id).ok_or(PaymentError::OrderNotFound)?;
        let now = self.checkout.world.now();
        let unsettled = OrderStatus::UNSETTLED.contains(&order.status);
        if !unsettled || order.checked_at > now.minus(STALE).unix_micros() {
            return Ok(order);
        }
        match tokio::time::timeout(ASK_DEADLINE, sweep::check(&self.checkout, &order)).await {
            Ok(checked) => checked?,
            Err(_) => tracing::warn!(order = order.id, "the provider is slow to say how an order stands"),
        }
        store::order(self.database.reader(), order_id).await?.ok_or(PaymentError::OrderNotFound)
    }

    /// The orders of a page, newest first.
    ///
    /// # Errors
    /// The page request breaks a rule.
    pub(crate) async fn list(&self, user_id: &str, page: PageRequest<'_>) -> Result<Page, PaymentError> {
        let size = page.size()?;
        // One more than asked for tells whether there is a next page.
        let limit = u64::try_from(size + 1).unwrap_or(u64::MAX);
        let reader = self.database.reader();
        let mut orders = store::orders_of_user(reader, user_id, page.before(), limit).await?;
        let more = orders.len() > size;
        orders.truncate(size);
        let next = orders.last().filter(|_| more).map(|order| order.id.clone());
        Ok(Page { orders, next })
    }
}

/// Which page of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageRequest<'a> {
    /// 0 for the default; more than 100 are never answered.
    pub(crate) page_size: i32,
    /// The id of the last row of the page before; empty for the first page.
    pub(crate) token: &'a str,
}

impl PageRequest<'_> {
    /// How many rows to answer.
    ///
    /// # Errors
    /// The size or the token breaks a rule.
    pub(crate) fn size(&self) -> Result<usize, PaymentError> {
        let size = Violation::range("page_size", self.page_size.into(), 0, i32::MAX.into());
        let mut violations: Vec<Violation> = size.into_iter().collect();
        if !self.token.is_empty() && !is_id(self.token) {
            let rule = Rule::Value("the page token is not one of ours".to_owned());
            violations.push(Violation::new("page_token", rule));
        }
        if !violations.is_empty() {
            return Err(PaymentError::Invalid(violations));
        }
        let size = if self.page_size == 0 { DEFAULT_PAGE } else { self.page_size.min(LARGEST_PAGE) };
        Ok(usize::try_from(size).unwrap_or_default())
    }

    pub(crate) fn before(&self) -> Option<&str> {
        Some(self.token).filter(|token| !token.is_empty())
    }
}

/// Whether a text is written like the ids given out here. PostgreSQL refuses some others, such as U+0000, instead of
/// not finding them.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

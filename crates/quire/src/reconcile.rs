//! `quire reconcile`: has the running payment service compare its records, and prints what differs.

use anyhow::Context as _;
use quire_clock::World;
use quire_fault::Fault;
use quire_identity::ServiceIdentity;
use quire_proto::payment::v1 as pb;
use quire_proto::payment::v1::payment_service_client::PaymentServiceClient;
use quire_serve::client::{channel, outgoing_stream};
use quire_serve::settings::Settings;

use crate::installation::Installation;
use crate::operator::say;

/// The name in the service token.
const OPERATOR: &str = "operator";

/// # Errors
/// The settings cannot be used, payment does not answer, or the run breaks off; what it printed until then stands.
pub async fn run(dry_run: bool, mut settings: Settings, world: World) -> anyhow::Result<()> {
    let installation = Installation::read(&mut settings, &world);
    settings.finish()?;
    let identity = ServiceIdentity::new(OPERATOR, world, &installation.master);
    let mut request = outgoing_stream(pb::ReconcileRequest { dry_run });
    identity.authorize(&mut request);
    let url = &installation.payment_url;
    let mut payment = PaymentServiceClient::new(channel(url)?);
    let told = payment.reconcile(request).await.map_err(|status| Fault::from(&status));
    let mut told = told
        .map_err(|fault| anyhow::anyhow!("{}: {}", fault.reason, fault.message))
        .with_context(|| format!("payment at {url} (QUIRE_PAYMENT_URL) did not begin"))?
        .into_inner();
    while let Some(answer) = told.message().await.context("the run broke off: run it again")? {
        if let Some(finding) = answer.finding {
            say(&line(&finding));
        }
    }
    Ok(())
}

fn line(finding: &pb::Finding) -> String {
    let kind = finding.kind().as_str_name();
    let kind = kind.strip_prefix("FINDING_KIND_").unwrap_or(kind).to_lowercase();
    let state = if finding.mended { "mended" } else { "open" };
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let (order, subject) = (or_dash(&finding.order_id), or_dash(&finding.subject));
    format!("{state:<7} {kind:<19} order {order}  {subject}  {}", finding.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_about_which_order() {
        let finding = pb::Finding {
            kind: pb::FindingKind::PaidWithoutJob.into(),
            order_id: "o-1".to_owned(),
            subject: String::new(),
            detail: "paid, and no job".to_owned(),
            mended: true,
        };
        assert_eq!(line(&finding), "mended  paid_without_job    order o-1  -  paid, and no job");
    }
}

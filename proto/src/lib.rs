//! The gRPC contract of Quire's four services: messages, clients and servers, generated from the `.proto` tree
//! beside this file, which is a buf module.

#[expect(clippy::allow_attributes, reason = "generated code")]
pub mod auth {
    pub mod v1 {
        tonic::include_proto!("quire.auth.v1");
    }
}

#[expect(clippy::allow_attributes, reason = "generated code")]
pub mod document {
    pub mod v1 {
        tonic::include_proto!("quire.document.v1");
    }
}

#[expect(clippy::allow_attributes, reason = "generated code")]
pub mod payment {
    pub mod v1 {
        tonic::include_proto!("quire.payment.v1");
    }
}

#[expect(clippy::allow_attributes, reason = "generated code")]
pub mod job {
    pub mod v1 {
        tonic::include_proto!("quire.job.v1");
    }
}

mod time;

pub use time::{from_timestamp, timestamp};

/// The descriptor set of all services, with comments: what reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quire.bin"));

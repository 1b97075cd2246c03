mod amount;
mod cnpj;
mod key;
mod modalidade;
mod numero_controle;
mod window;

pub use amount::Amount;
pub use cnpj::Cnpj;
pub use key::ContratacaoKey;
pub use modalidade::Modalidade;
pub use numero_controle::NumeroControlePncp;
pub use window::Window;

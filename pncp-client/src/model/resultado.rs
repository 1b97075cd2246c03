use chrono::{NaiveDate, NaiveDateTime};
use serde_json::value::RawValue;

use super::record;
use crate::domain::Amount;

record! {
    /// A result of an item. The supplier may be a natural person, known by CPF.
    Resultado {
        numero_item: i32 = "numeroItem",
        sequencial_resultado: i32 = "sequencialResultado",
        ni_fornecedor: String = "niFornecedor",
        tipo_pessoa: String = "tipoPessoa",
        nome_razao_social_fornecedor: String = "nomeRazaoSocialFornecedor",
        porte_fornecedor_id: i64 = "porteFornecedorId",
        porte_fornecedor_nome: String = "porteFornecedorNome",
        natureza_juridica_id: String = "naturezaJuridicaId",
        natureza_juridica_nome: String = "naturezaJuridicaNome",
        quantidade_homologada: Amount = "quantidadeHomologada",
        valor_unitario_homologado: Amount = "valorUnitarioHomologado",
        valor_total_homologado: Amount = "valorTotalHomologado",
        percentual_desconto: Amount = "percentualDesconto",
        indicador_subcontratacao: bool = "indicadorSubcontratacao",
        ordem_classificacao_srp: i32 = "ordemClassificacaoSrp",
        data_resultado: NaiveDate = "dataResultado",
        data_inclusao: NaiveDateTime = "dataInclusao",
        data_atualizacao: NaiveDateTime = "dataAtualizacao",
        data_cancelamento: NaiveDateTime = "dataCancelamento",
        motivo_cancelamento: String = "motivoCancelamento",
        situacao_compra_item_resultado_id: i64 = "situacaoCompraItemResultadoId",
        situacao_compra_item_resultado_nome: String = "situacaoCompraItemResultadoNome",
        numero_controle_pncp_compra: String = "numeroControlePNCPCompra",
        codigo_pais: String = "codigoPais",
        localidade_exterior: String = "localidadeExterior",
        localidade_fornecedor: Box<RawValue> = "localidadeFornecedor",
        reserva_remanescente: Dominio = "reservaRemanescente",
        aplicacao_margem_preferencia: bool = "aplicacaoMargemPreferencia",
        aplicacao_beneficio_me_epp: bool = "aplicacaoBeneficioMeEpp",
        aplicacao_criterio_desempate: bool = "aplicacaoCriterioDesempate",
        amparo_legal_margem_preferencia: Dominio = "amparoLegalMargemPreferencia",
        amparo_legal_criterio_desempate: Dominio = "amparoLegalCriterioDesempate",
        moeda_estrangeira: Box<RawValue> = "moedaEstrangeira",
        valor_nominal_moeda_estrangeira: Amount = "valorNominalMoedaEstrangeira",
        data_cotacao_moeda_estrangeira: NaiveDateTime = "dataCotacaoMoedaEstrangeira",
        timezone_cotacao_moeda_estrangeira: String = "timezoneCotacaoMoedaEstrangeira",
        pais_origem_produto_servico: Box<RawValue> = "paisOrigemProdutoServico",
    }
}

record! {
    /// A row of a small table, inside another record.
    Dominio {
        id: i64 = "id",
        codigo: i64 = "codigo",
        nome: String = "nome",
        descricao: String = "descricao",
        status_ativo: bool = "statusAtivo",
    }
}

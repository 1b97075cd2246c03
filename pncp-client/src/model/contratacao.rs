use chrono::NaiveDateTime;

use super::record;
use crate::domain::Amount;

record! {
    /// A purchase, as listed or alone. Date-times have no zone, because the API names none.
    Contratacao {
        numero_controle_pncp: String = "numeroControlePNCP",
        ano_compra: i32 = "anoCompra",
        sequencial_compra: i32 = "sequencialCompra",
        orgao_entidade: OrgaoEntidade = "orgaoEntidade",
        unidade_orgao: UnidadeOrgao = "unidadeOrgao",
        orgao_sub_rogado: OrgaoEntidade = "orgaoSubRogado",
        unidade_sub_rogada: UnidadeOrgao = "unidadeSubRogada",
        amparo_legal: AmparoLegal = "amparoLegal",
        fontes_orcamentarias: Vec<FonteOrcamentaria> = "fontesOrcamentarias",
        modalidade_id: i64 = "modalidadeId",
        modalidade_nome: String = "modalidadeNome",
        modo_disputa_id: i64 = "modoDisputaId",
        modo_disputa_nome: String = "modoDisputaNome",
        tipo_instrumento_convocatorio_codigo: i64 = "tipoInstrumentoConvocatorioCodigo",
        tipo_instrumento_convocatorio_nome: String = "tipoInstrumentoConvocatorioNome",
        situacao_compra_id: i64 = "situacaoCompraId",
        situacao_compra_nome: String = "situacaoCompraNome",
        srp: bool = "srp",
        valor_total_estimado: Amount = "valorTotalEstimado",
        valor_total_homologado: Amount = "valorTotalHomologado",
        numero_compra: String = "numeroCompra",
        processo: String = "processo",
        objeto_compra: String = "objetoCompra",
        informacao_complementar: String = "informacaoComplementar",
        justificativa_presencial: String = "justificativaPresencial",
        link_sistema_origem: String = "linkSistemaOrigem",
        link_processo_eletronico: String = "linkProcessoEletronico",
        data_inclusao: NaiveDateTime = "dataInclusao",
        data_publicacao_pncp: NaiveDateTime = "dataPublicacaoPncp",
        data_atualizacao: NaiveDateTime = "dataAtualizacao",
        data_atualizacao_global: NaiveDateTime = "dataAtualizacaoGlobal",
        data_abertura_proposta: NaiveDateTime = "dataAberturaProposta",
        data_encerramento_proposta: NaiveDateTime = "dataEncerramentoProposta",
        usuario_nome: String = "usuarioNome",
        emenda_parlamentar: bool = "emendaParlamentar",
        orcamento_sigiloso_codigo: i64 = "orcamentoSigilosoCodigo",
        orcamento_sigiloso_descricao: String = "orcamentoSigilosoDescricao",
        existe_resultado: bool = "existeResultado",
    }
}

record! {
    /// The buyer.
    OrgaoEntidade {
        cnpj: String = "cnpj",
        razao_social: String = "razaoSocial",
        poder_id: String = "poderId",
        esfera_id: String = "esferaId",
    }
}

record! {
    /// The unit that buys.
    UnidadeOrgao {
        uf_nome: String = "ufNome",
        codigo_unidade: String = "codigoUnidade",
        nome_unidade: String = "nomeUnidade",
        uf_sigla: String = "ufSigla",
        municipio_nome: String = "municipioNome",
        codigo_ibge: String = "codigoIbge",
    }
}

record! {
    /// The legal basis.
    AmparoLegal {
        codigo: i64 = "codigo",
        nome: String = "nome",
        descricao: String = "descricao",
    }
}

record! {
    /// A source of funds.
    FonteOrcamentaria {
        codigo: i64 = "codigo",
        nome: String = "nome",
        descricao: String = "descricao",
        data_inclusao: NaiveDateTime = "dataInclusao",
    }
}

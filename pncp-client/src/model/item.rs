use chrono::NaiveDateTime;

use super::record;
use crate::domain::Amount;

record! {
    /// An item of a purchase.
    Item {
        numero_item: i32 = "numeroItem",
        descricao: String = "descricao",
        material_ou_servico: String = "materialOuServico",
        material_ou_servico_nome: String = "materialOuServicoNome",
        valor_unitario_estimado: Amount = "valorUnitarioEstimado",
        valor_total: Amount = "valorTotal",
        quantidade: Amount = "quantidade",
        unidade_medida: String = "unidadeMedida",
        orcamento_sigiloso: bool = "orcamentoSigiloso",
        item_categoria_id: i64 = "itemCategoriaId",
        item_categoria_nome: String = "itemCategoriaNome",
        patrimonio: String = "patrimonio",
        codigo_registro_imobiliario: String = "codigoRegistroImobiliario",
        criterio_julgamento_id: i64 = "criterioJulgamentoId",
        criterio_julgamento_nome: String = "criterioJulgamentoNome",
        situacao_compra_item: i64 = "situacaoCompraItem",
        situacao_compra_item_nome: String = "situacaoCompraItemNome",
        tipo_beneficio: i64 = "tipoBeneficio",
        tipo_beneficio_nome: String = "tipoBeneficioNome",
        incentivo_produtivo_basico: bool = "incentivoProdutivoBasico",
        data_inclusao: NaiveDateTime = "dataInclusao",
        data_atualizacao: NaiveDateTime = "dataAtualizacao",
        tem_resultado: bool = "temResultado",
        imagem: i32 = "imagem",
        aplicabilidade_margem_preferencia_normal: bool = "aplicabilidadeMargemPreferenciaNormal",
        aplicabilidade_margem_preferencia_adicional: bool = "aplicabilidadeMargemPreferenciaAdicional",
        percentual_margem_preferencia_normal: Amount = "percentualMargemPreferenciaNormal",
        percentual_margem_preferencia_adicional: Amount = "percentualMargemPreferenciaAdicional",
        ncm_nbs_codigo: String = "ncmNbsCodigo",
        ncm_nbs_descricao: String = "ncmNbsDescricao",
        catalogo: Catalogo = "catalogo",
        categoria_item_catalogo: CategoriaItem = "categoriaItemCatalogo",
        catalogo_codigo_item: String = "catalogoCodigoItem",
        informacao_complementar: String = "informacaoComplementar",
        tipo_margem_preferencia: MargemPreferencia = "tipoMargemPreferencia",
        exigencia_conteudo_nacional: bool = "exigenciaConteudoNacional",
    }
}

record! {
    /// A catalogue.
    Catalogo {
        id: i64 = "id",
        nome: String = "nome",
        descricao: String = "descricao",
        data_inclusao: NaiveDateTime = "dataInclusao",
        data_atualizacao: NaiveDateTime = "dataAtualizacao",
        status_ativo: bool = "statusAtivo",
        url: String = "url",
    }
}

record! {
    /// A category of the catalogue.
    CategoriaItem {
        id: i64 = "id",
        nome: String = "nome",
        descricao: String = "descricao",
        data_inclusao: NaiveDateTime = "dataInclusao",
        data_atualizacao: NaiveDateTime = "dataAtualizacao",
        status_ativo: bool = "statusAtivo",
    }
}

record! {
    /// A kind of preference margin.
    MargemPreferencia {
        codigo: i64 = "codigo",
        nome: String = "nome",
    }
}

record! {
    /// A document of a purchase. Its identity is `sequencialDocumento`; numbers have gaps.
    Arquivo {
        uri: String = "uri",
        url: String = "url",
        cnpj: String = "cnpj",
        ano_compra: i32 = "anoCompra",
        sequencial_compra: i32 = "sequencialCompra",
        sequencial_documento: i32 = "sequencialDocumento",
        titulo: String = "titulo",
        tipo_documento_id: i64 = "tipoDocumentoId",
        tipo_documento_nome: String = "tipoDocumentoNome",
        tipo_documento_descricao: String = "tipoDocumentoDescricao",
        data_publicacao_pncp: NaiveDateTime = "dataPublicacaoPncp",
        status_ativo: bool = "statusAtivo",
    }
}

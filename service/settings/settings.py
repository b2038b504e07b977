"""Every setting together, from the environment and a TOML file, and the pipeline's part of them."""

from typing import TYPE_CHECKING

from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ragnarok.documents import StoreOptions
from rerank.profile import read_profile
from service.settings.answering import AnsweringSettings
from service.settings.arena import ArenaSettings
from service.settings.reranking import RerankingSettings
from service.settings.retrieval import RetrievalSettings
from service.settings.serving import ServingSettings
from service.settings.sources import PREFIX, settings_file
from service.settings.stages import StageSettings

if TYPE_CHECKING:
    from ragnarok.assemble import PipelineSettings


class Settings(
    ArenaSettings,
    ServingSettings,
    AnsweringSettings,
    RerankingSettings,
    RetrievalSettings,
    StageSettings,
    BaseSettings,
):
    """Every setting of the service; `RAGNAROK_` and the name in capitals is its environment variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given by name comes first, then the environment, then the file if there is one."""
        file = settings_file()
        files = () if file is None else (TomlConfigSettingsSource(settings_cls, file),)
        return init_settings, env_settings, *files, dotenv_settings, file_secret_settings

    def for_pipeline(self) -> "PipelineSettings":
        """The part of the settings that the pipeline is made of."""
        # Not at the top: these load torch, which a gateway does without.
        from ragnarok.assemble import PipelineSettings
        from ragnarok.generators import LocalOptions
        from rerank.icr import IcrOptions
        from rerank.late.reranker import LateOptions

        return PipelineSettings(
            index=self.index,
            method=self.method,
            model=self.model,
            rerank=self.rerank,
            mode=self.mode,
            profile=None if self.profile is None else read_profile(self.profile),
            late=LateOptions(int8=self.int8, memory=self.memory_bytes, host_memory=self.host_memory_bytes),
            store=StoreOptions(self.store, self.store_bytes, self.store_redis),
            first_stage=self.first_stage,
            icr=IcrOptions(passage_tokens=self.rerank_tokens),
            generator=self.generator,
            policy=self.policy,
            sparsity=self.sparsity,
            generate=LocalOptions(
                passages=self.passages, passage_tokens=self.passage_tokens, max_tokens=self.max_tokens
            ),
            openai=self.for_openai(),
            depth=self.depth,
            k1=self.k1,
            b=self.b,
        )

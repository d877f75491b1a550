"""The world of the pipelines' tests, for the samples that export one."""

from tests.pipelines.conftest import exporter as exporter
from tests.pipelines.conftest import sandbox as sandbox
from tests.pipelines.conftest import world as world

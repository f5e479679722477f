"""The whole suite; in which order the stages run is mitmesh.stage.ORDER's to say."""

from mitmesh.catalog import CATALOG
from mitmesh.engine import door

addons = door(*CATALOG)

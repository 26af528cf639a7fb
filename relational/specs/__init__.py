"""Models as data: frozen, checked values that load from and save to a short YAML file."""

from relational.specs.changes import difference as difference
from relational.specs.changes import override as override
from relational.specs.data import ChoralesSpec as ChoralesSpec
from relational.specs.data import DataSpec as DataSpec
from relational.specs.data import NoDataSpec as NoDataSpec
from relational.specs.experts import ExpertsSpec as ExpertsSpec
from relational.specs.graph_attentions import EdgeAttentionSpec as EdgeAttentionSpec
from relational.specs.graph_attentions import GraphAttentionSpec as GraphAttentionSpec
from relational.specs.graph_attentions import (
    GraphTransformerSpec as GraphTransformerSpec,
)
from relational.specs.graph_attentions import NonLocalSpec as NonLocalSpec
from relational.specs.graph_attentions import VAINSpec as VAINSpec
from relational.specs.graph_blocks import CommNetSpec as CommNetSpec
from relational.specs.graph_blocks import DeepSetsSpec as DeepSetsSpec
from relational.specs.graph_blocks import GatedGraphNetworkSpec as GatedGraphNetworkSpec
from relational.specs.graph_blocks import GraphNetworkSpec as GraphNetworkSpec
from relational.specs.graph_blocks import IndependentSpec as IndependentSpec
from relational.specs.graph_blocks import (
    InteractionNetworkSpec as InteractionNetworkSpec,
)
from relational.specs.graph_blocks import MessagePassingSpec as MessagePassingSpec
from relational.specs.graph_blocks import RelationNetworkSpec as RelationNetworkSpec
from relational.specs.graph_convolutions import (
    GraphConvolutionSpec as GraphConvolutionSpec,
)
from relational.specs.graph_convolutions import (
    GraphIsomorphismSpec as GraphIsomorphismSpec,
)
from relational.specs.graph_convolutions import GraphSAGESpec as GraphSAGESpec
from relational.specs.graph_convolutions import (
    PrincipalAggregationSpec as PrincipalAggregationSpec,
)
from relational.specs.graph_convolutions import (
    RelationalConvolutionSpec as RelationalConvolutionSpec,
)
from relational.specs.graph_data import MoleculesSpec as MoleculesSpec
from relational.specs.graph_data import PlanetoidSpec as PlanetoidSpec
from relational.specs.graph_data import ShortestPathSpec as ShortestPathSpec
from relational.specs.graph_data import SortingSpec as SortingSpec
from relational.specs.graph_data import SpringsSpec as SpringsSpec
from relational.specs.graph_positions import DegreesSpec as DegreesSpec
from relational.specs.graph_positions import EdgeTypesSpec as EdgeTypesSpec
from relational.specs.graph_positions import GraphRelationSpec as GraphRelationSpec
from relational.specs.graph_positions import HopsSpec as HopsSpec
from relational.specs.graph_positions import (
    LaplacianPositionsSpec as LaplacianPositionsSpec,
)
from relational.specs.graph_positions import (
    RandomWalkPositionsSpec as RandomWalkPositionsSpec,
)
from relational.specs.layers import ActivationSpec as ActivationSpec
from relational.specs.layers import DropoutSpec as DropoutSpec
from relational.specs.layers import GraphNodesSpec as GraphNodesSpec
from relational.specs.layers import LayerNormSpec as LayerNormSpec
from relational.specs.layers import LayerSpec as LayerSpec
from relational.specs.layers import LinearSpec as LinearSpec
from relational.specs.layers import OverSpec as OverSpec
from relational.specs.layers import PerEdgeSetSpec as PerEdgeSetSpec
from relational.specs.layers import PoolSpec as PoolSpec
from relational.specs.layers import RepeatSpec as RepeatSpec
from relational.specs.layers import ResidualSpec as ResidualSpec
from relational.specs.layers import VirtualNodeSpec as VirtualNodeSpec
from relational.specs.model import AttentionSpec as AttentionSpec
from relational.specs.model import AttentionsSpec as AttentionsSpec
from relational.specs.model import BlockSpec as BlockSpec
from relational.specs.model import EdgeSetSpec as EdgeSetSpec
from relational.specs.model import FeedForwardSpec as FeedForwardSpec
from relational.specs.model import ModelSpec as ModelSpec
from relational.specs.model import NodeSpec as NodeSpec
from relational.specs.network import EncodeProcessDecodeSpec as EncodeProcessDecodeSpec
from relational.specs.network import NetworkSpec as NetworkSpec
from relational.specs.network import ProcessSpec as ProcessSpec
from relational.specs.network import StackSpec as StackSpec
from relational.specs.norms import MeanNormSpec as MeanNormSpec
from relational.specs.norms import NormSpec as NormSpec
from relational.specs.norms import RMSNormSpec as RMSNormSpec
from relational.specs.positions import LearnedPositionsSpec as LearnedPositionsSpec
from relational.specs.positions import NoPositionsSpec as NoPositionsSpec
from relational.specs.positions import PositionsSpec as PositionsSpec
from relational.specs.positions import SinusoidSpec as SinusoidSpec
from relational.specs.problems import Problem as Problem
from relational.specs.problems import SpecError as SpecError
from relational.specs.read_out import HiddenSpec as HiddenSpec
from relational.specs.read_out import ReadOutSpec as ReadOutSpec
from relational.specs.reader import loads as loads
from relational.specs.relation import BucketsSpec as BucketsSpec
from relational.specs.relation import DifferenceSpec as DifferenceSpec
from relational.specs.relation import LabelsSpec as LabelsSpec
from relational.specs.relation import OffsetSpec as OffsetSpec
from relational.specs.relation import RelationSpec as RelationSpec
from relational.specs.rotary import RotarySpec as RotarySpec
from relational.specs.schedule import ConstantSpec as ConstantSpec
from relational.specs.schedule import ScheduleSpec as ScheduleSpec
from relational.specs.schedule import WarmupCosineSpec as WarmupCosineSpec
from relational.specs.schedule import WarmupRsqrtSpec as WarmupRsqrtSpec
from relational.specs.schema import schema as schema
from relational.specs.shipped import load as load
from relational.specs.shipped import names as names
from relational.specs.shipped import save as save
from relational.specs.spec import AnyModelSpec as AnyModelSpec
from relational.specs.spec import Spec as Spec
from relational.specs.text_data import Multi30kSpec as Multi30kSpec
from relational.specs.text_data import ParallelTextSpec as ParallelTextSpec
from relational.specs.text_data import PlainTextSpec as PlainTextSpec
from relational.specs.text_data import TextSpec as TextSpec
from relational.specs.text_data import TFDSTextSpec as TFDSTextSpec
from relational.specs.token_arrays import TokenArraysSpec as TokenArraysSpec
from relational.specs.topology import AndSpec as AndSpec
from relational.specs.topology import BandSpec as BandSpec
from relational.specs.topology import BlocksSpec as BlocksSpec
from relational.specs.topology import CausalSpec as CausalSpec
from relational.specs.topology import CompleteSpec as CompleteSpec
from relational.specs.topology import MinusSpec as MinusSpec
from relational.specs.topology import OrSpec as OrSpec
from relational.specs.topology import PrefixSpec as PrefixSpec
from relational.specs.topology import SelfSpec as SelfSpec
from relational.specs.topology import StridedSpec as StridedSpec
from relational.specs.topology import TopologySpec as TopologySpec
from relational.specs.training import AdamSpec as AdamSpec
from relational.specs.training import AdamWSpec as AdamWSpec
from relational.specs.training import MuonSpec as MuonSpec
from relational.specs.training import OptimizerSpec as OptimizerSpec
from relational.specs.training import TrainingSpec as TrainingSpec
from relational.specs.updates import MLPSpec as MLPSpec
from relational.specs.writer import dumps as dumps

"""Settings of cluster: the space clusters are looked for in, the method, their number."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from tasks.sections import Section


class LatentSpace(Section):
    """The latent means themselves."""

    kind: Literal["latent"] = "latent"


class UmapSpace(Section):
    """A UMAP of the latent means, made of cells the network learned from; the others are placed in it."""

    kind: Literal["umap"] = "umap"
    dimensions: int = Field(2, ge=1, le=64, description="Dimensions of the map.")
    neighbours: int = Field(30, ge=2, description="Neighbours of a cell; higher shows coarser structure.")
    min_dist: float = Field(0.0, ge=0, le=1, description="Least distance of points; 0 parts clusters best.")


class GaussianMixture(Section):
    """A mixture of Gaussians."""

    kind: Literal["mixture"] = "mixture"
    covariance: Literal["full", "diag"] = Field("full", description="Shape of a component.")
    n_init: int = Field(5, ge=1, description="Starts of the fit; the best is kept.")


class KMeans(Section):
    """Centres; a cell belongs to the nearest."""

    kind: Literal["kmeans"] = "kmeans"
    n_init: int = Field(5, ge=1, description="Starts of the fit; the best is kept.")


class Hdbscan(Section):
    """Dense regions, of which it finds the number itself, and noise (cluster -1)."""

    kind: Literal["hdbscan"] = "hdbscan"
    min_cluster_size: int = Field(50, ge=2, description="Cells that make a cluster.")
    min_samples: int | None = Field(
        None, ge=1, description="Neighbours that make a cell's density; fewer leave less noise."
    )


class ModelMixture(Section):
    """The mixture that the network learned itself (VaDE), in its latent space."""

    kind: Literal["model"] = "model"


class ChosenNumber(Section):
    """The number of clusters, chosen: the lowest BIC among the numbers that are stable."""

    fewest: int = Field(2, ge=1, le=200, description="Fewest clusters tried.")
    most: int = Field(10, ge=1, le=200, description="Most clusters tried.")
    resamples: int = Field(5, ge=1, description="How often the cells are halved to see what comes out again.")
    least_stability: float = Field(
        0.8, ge=0, le=1, description="Adjusted Rand index between the halves' clusterings that is stable."
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.fewest > self.most:
            raise ValueError(f"expected fewest up to most ({self.most}), found {self.fewest}")
        return self


def _kind_of_number(value: Any) -> str:
    return "ChosenNumber" if isinstance(value, dict | ChosenNumber) else "int"


GivenNumber = Annotated[int, Field(ge=1, le=200), Tag("int")]
TaggedChoice = Annotated[ChosenNumber, Tag("ChosenNumber")]
Space = Annotated[LatentSpace | UmapSpace, Field(discriminator="kind")]
Method = Annotated[GaussianMixture | KMeans | Hdbscan | ModelMixture, Field(discriminator="kind")]


class ClusterSettings(Section):
    """How clusters are found among the latent means, and the map drawn of them."""

    space: Space = Field(LatentSpace(), description="Where clusters are looked for.")
    method: Method = Field(GaussianMixture(), description="How they are found.")
    n_clusters: Annotated[GivenNumber | TaggedChoice, Discriminator(_kind_of_number)] = Field(
        4, description="Number of clusters, or how it is chosen. HDBSCAN and the model know their own."
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Level at which a difference between conditions would be called significant.",
    )
    umap_neighbours: int = Field(
        15, ge=2, description="Neighbours in the UMAP drawn; higher shows coarser structure."
    )
    umap_min_dist: float = Field(0.1, ge=0, le=1, description="Least distance of points in the UMAP drawn.")
    seed: int = Field(0, ge=0, description="Seed of the clusters, the map, and the draws of the intervals.")

    @model_validator(mode="after")
    def _model_in_its_own_space(self) -> Self:
        if isinstance(self.method, ModelMixture) and not isinstance(self.space, LatentSpace):
            raise ValueError("the model's own mixture lies in the latent space; set space.kind = 'latent'")
        return self

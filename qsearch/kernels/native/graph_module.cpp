// The border to Python of searches by graph.
#include <utility>

#include "binding.hpp"
#include "graph.hpp"

namespace qsearch {
namespace {

using Codes = In<std::int8_t, 2>;
using Floats = In<float, 1>;
using Sketches = In<std::uint64_t, 3>;

GraphRows rows_of(const Codes& int8, const Floats& scale, const Sketches& sketches, const Floats& center) {
  const std::size_t n = int8.shape(0), d = int8.shape(1), lines = sketches.shape(1);
  require(n >= 1 && n < (std::size_t{1} << 32) - 1 && d >= 1, "a graph has 1 to 2**32 - 2 rows");
  require(scale.shape(0) == n && center.shape(0) == d, "scale or center have another shape");
  require(sketches.shape(0) == n && lines >= 1 && sketches.shape(2) == kSketchWords, "sketches have another shape");
  return {n, d, int8.data(), scale.data(), sketches.data(), lines, center.data()};
}

// The arrays of the segments of a search by graph, checked once and kept.
class GraphSegments {
 public:
  GraphSegments(std::vector<In<std::uint32_t, 2>> links, std::vector<Sketches> sketches, std::vector<Floats> centers,
                std::vector<Codes> int8, std::vector<Floats> scale, std::vector<In<float, 2>> vectors,
                std::vector<std::int64_t> first_rows)
      : links_(std::move(links)), sketches_(std::move(sketches)), centers_(std::move(centers)),
        int8_(std::move(int8)), scale_(std::move(scale)), vectors_(std::move(vectors)) {
    const std::size_t count = links_.size();
    require(count && sketches_.size() == count && centers_.size() == count && int8_.size() == count &&
                scale_.size() == count && vectors_.size() == count && first_rows.size() == count,
            "segments must have all arrays");
    starts_.resize(count);  // they stay where they are
    for (std::size_t i = 0; i < count; ++i) {
      const GraphRows rows = rows_of(int8_[i], scale_[i], sketches_[i], centers_[i]);
      require(rows.d == dimensions(), "segments must have equal dimensions");
      require(links_[i].shape(0) == rows.n && vectors_[i].shape(0) == rows.n && vectors_[i].shape(1) == rows.d,
              "links or rows have another shape");
      starts_[i] = start_rows(rows.n);
      segments_.push_back({rows, {links_[i].data(), links_[i].shape(1)}, &starts_[i], vectors_[i].data(), first_rows[i],
                           {nullptr, rows.n}});
    }
  }

  std::size_t dimensions() const { return int8_[0].shape(1); }
  std::size_t size() const { return segments_.size(); }

  std::vector<GraphSegment> under(const std::vector<Bits>& masks) const {
    require(masks.size() == segments_.size(), "there must be a mask for each segment");
    std::vector<GraphSegment> some = segments_;
    bool any = false;
    for (std::size_t i = 0; i < some.size(); ++i) {
      some[i].mask = mask_of(masks[i], some[i].rows.n);
      any = any || some[i].mask.allowed;
    }
    require(any, "no row is allowed");
    return some;
  }

 private:
  std::vector<In<std::uint32_t, 2>> links_;
  std::vector<Sketches> sketches_;
  std::vector<Floats> centers_;
  std::vector<Codes> int8_;
  std::vector<Floats> scale_;
  std::vector<In<float, 2>> vectors_;
  std::vector<std::vector<std::uint32_t>> starts_;
  std::vector<GraphSegment> segments_;
};

// Returns the position of a row that is not finite, or -1.
std::int64_t bind_graph_top_k(const std::string& path, const GraphSegments& segments, const std::vector<Bits>& masks,
                              In<float, 2> queries, Codes codes, Floats blurs, std::size_t width, std::size_t kept,
                              std::vector<std::size_t> depths, Out<float, 2> scores, Out<std::int64_t, 2> positions,
                              Out<double, 2> heights, Out<double, 1> ends, Out<std::int64_t, 2> looked,
                              Out<std::int64_t, 1> spent, std::size_t threads) {
  const std::size_t q = queries.shape(0), d = segments.dimensions(), k = scores.shape(1);
  require(queries.shape(1) == d && codes.shape(0) == q && codes.shape(1) == d && blurs.shape(0) == q,
          "queries or codes have another shape");
  require(scores.shape(0) == q && positions.shape(0) == q && positions.shape(1) == k && k >= 1 &&
              heights.shape(0) == q && heights.shape(1) == depths.size() && ends.shape(0) == q &&
              looked.shape(0) == 3 && looked.shape(1) == q && spent.shape(0) == 2,
          "the places for results have another shape");
  require(width >= 1 && kept >= k, "a beam must have places, and k rows be kept");
  for (const std::size_t depth : depths) require(depth >= 1, "a height is of one row at least");
  const std::vector<GraphSegment> some = segments.under(masks);
  const Path& chosen = named(path);
  const GraphAsked asked = {k, width, kept, std::move(depths)};
  std::int64_t damaged = -1;
  run([&](Watch* watch) {
    damaged = graph_top_k(chosen, some, {q, queries.data(), codes.data(), blurs.data()}, asked, scores.data(),
                          positions.data(), {heights.data(), ends.data()},
                          {looked.data(), looked.data() + q, looked.data() + 2 * q}, spent.data(), threads, watch);
  });
  return damaged;
}

void bind_graph_found(const std::string& path, const GraphSegments& segments, const std::vector<Bits>& masks,
                      Codes codes, std::size_t width, Out<std::int64_t, 2> positions, Out<float, 2> scores,
                      Out<double, 1> ends, std::size_t threads) {
  const std::size_t q = codes.shape(0), places = width * segments.size();
  require(codes.shape(1) == segments.dimensions(), "codes have another shape");
  require(width >= 1 && positions.shape(0) == q && positions.shape(1) == places && scores.shape(0) == q &&
              scores.shape(1) == places && ends.shape(0) == q,
          "the places for results have another shape");
  const std::vector<GraphSegment> some = segments.under(masks);
  const Path& chosen = named(path);
  run([&](Watch* watch) {
    graph_found(chosen, some, codes.data(), q, width, positions.data(), scores.data(), ends.data(), threads, watch);
  });
}

// Holds what it reads.
class Builder {
 public:
  Builder(const std::string& path, Codes int8, Floats scale, Sketches sketches, Floats center, std::size_t degree,
          std::size_t width, std::size_t threads)
      : int8_(std::move(int8)), scale_(std::move(scale)), sketches_(std::move(sketches)), center_(std::move(center)),
        degree_(degree), builder_(named(path), rows_of(int8_, scale_, sketches_, center_), checked(degree, width),
                                  width, threads) {}

  std::size_t step() {
    std::size_t added = 0;
    run([&](Watch* watch) { added = builder_.step(watch); });
    return added;
  }

  void finish(Out<std::uint32_t, 2> links) {
    require(links.shape(0) == int8_.shape(0) && links.shape(1) == degree_, "links have another shape");
    run([&](Watch* watch) { builder_.finish(links.data(), watch); });
  }

 private:
  static std::size_t checked(std::size_t degree, std::size_t width) {
    require(degree >= 1 && degree <= 1024 && width >= 1, "a graph has 1 to 1,024 links of each row");
    return degree;
  }

  Codes int8_;
  Floats scale_;
  Sketches sketches_;
  Floats center_;
  std::size_t degree_;
  GraphBuilder builder_;
};

}  // namespace

void add_graph(nb::module_& m) {
  nb::class_<GraphSegments>(m, "GraphSegments")
      .def(nb::init<std::vector<In<std::uint32_t, 2>>, std::vector<Sketches>, std::vector<Floats>,
                    std::vector<Codes>, std::vector<Floats>, std::vector<In<float, 2>>, std::vector<std::int64_t>>());
  m.def("graph_top_k", &bind_graph_top_k, nb::arg("path"), nb::arg("segments"), nb::arg("masks"), ARRAY("queries"),
        ARRAY("codes"), ARRAY("blurs"), nb::arg("width"), nb::arg("kept"), nb::arg("depths"), ARRAY("scores"),
        ARRAY("positions"), ARRAY("heights"), ARRAY("ends"), ARRAY("looked"), ARRAY("spent"), nb::arg("threads"));
  m.def("graph_found", &bind_graph_found, nb::arg("path"), nb::arg("segments"), nb::arg("masks"), ARRAY("codes"),
        nb::arg("width"), ARRAY("positions"), ARRAY("scores"), ARRAY("ends"), nb::arg("threads"));
  nb::class_<Builder>(m, "GraphBuilder")
      .def(nb::init<const std::string&, Codes, Floats, Sketches, Floats, std::size_t, std::size_t, std::size_t>())
      .def("step", &Builder::step)
      .def("finish", &Builder::finish, ARRAY("links"));
}

}  // namespace qsearch

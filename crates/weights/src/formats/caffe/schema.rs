//! The part of `caffe.proto` that a network of this kind needs: fields by their numbers.

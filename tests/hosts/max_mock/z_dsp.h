// What is about signals in the stand-in for the Max SDK.
#pragma once

#include "ext_obex.h"

enum { Z_NO_INPLACE = 1, Z_MC_INLETS = 2 };

struct t_pxobject {
  t_object head;
  long z_in;
  short z_misc;
};

extern "C" {
void class_dspinit(t_class* in);
void z_dsp_setup(t_pxobject* object, long inlets);
void z_dsp_free(t_pxobject* object);
}
#define dsp_setup z_dsp_setup
#define dsp_free z_dsp_free
